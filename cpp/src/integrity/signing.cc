// SPDX-License-Identifier: Apache-2.0
//
// What makes keys, signatures and registries: the other half of anya/trust.h, through the code that verifies them.
#include <algorithm>
#include <utility>

#include <sys/stat.h>

#include "anya/trust.h"
#include "base/text.h"
#include "integrity/bundle.h"
#include "integrity/dsse.h"
#include "integrity/file_tree.h"
#include "integrity/hashing.h"
#include "integrity/registry.h"
#include "integrity/small_file.h"
#include "integrity/trust_check.h"

namespace anya {
namespace {

using namespace integrity;

// A model as signatures see it: a directory, or a file by itself.
struct Subject {
  Fd root;           // the directory, or the one the file lies in
  std::string file;  // its name there; empty for a directory
  std::string name;  // what it is called
  std::string signature;

  [[nodiscard]] std::string signature_name() const {
    return file.empty() ? std::string(kSignatureName) : file + ".sig";
  }
};

Subject subject_of(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  struct stat info{};
  if (path.empty() || path.find('\0') != std::string::npos || ::stat(path.c_str(), &info) != 0) {
    throw Error(ErrorCode::kModelLoadError, "there is no file or directory " + quoted(path));
  }
  auto [parent, base] = folder_and_name(path);
  if (S_ISDIR(info.st_mode)) {
    return {open_directory(path), "", std::move(base), path + "/" + std::string(kSignatureName)};
  }
  return {open_directory(parent), base, base, path + ".sig"};
}

Digest digest_of_file(const CryptoContext& context, const Subject& subject) {
  const OpenFile file = open_named(subject.root, subject.file);
  if (!file.fd) throw Error(ErrorCode::kFileMissing, "the file " + quoted(subject.file) + " is not there");
  return hash_file(context, file);
}

SignatureFacts facts_of(std::string path, std::string signer, const Manifest& manifest) {
  SignatureFacts facts{std::move(path), std::move(signer), {}};
  for (const Resource& file : manifest.files) facts.files.emplace_back(file.name, file.sha256);
  return facts;
}

std::vector<EnvelopeSignature> signatures_of(const CryptoContext& context, std::string_view payload,
                                             const std::vector<PrivateKeyFile>& keys) {
  std::vector<EnvelopeSignature> signatures;
  for (const PrivateKeyFile& file : keys) {
    const PrivateKey key = read_private_key(context, file.path, file.password);
    const std::string& id = key.public_key().id();
    const bool has = std::ranges::any_of(signatures, [&](const auto& s) { return s.key_id == id; });
    if (!has) signatures.push_back({sign_payload(key, kRegistryType, payload), id});
  }
  return signatures;
}

}  // namespace

std::string generate_key(const std::string& path, const std::string& curve, const std::string& password) {
  const CryptoContext context;
  const PrivateKey key = PrivateKey::generate(context, curve);
  struct stat info{};
  const std::string public_path = path + ".pub";
  if (::lstat(public_path.c_str(), &info) == 0) {
    throw Error(ErrorCode::kConfigError, quoted(public_path) + " exists already; nothing was written");
  }
  write_atomically(path, key.pem(password), 0600, Existing::kRefuse);
  write_atomically(public_path, key.public_key().pem(), 0600, Existing::kRefuse);
  return key.public_key().id();
}

std::vector<std::string> key_ids(const std::vector<std::string>& paths) {
  const CryptoContext context;
  std::vector<std::string> ids;
  for (const PublicKey& key : read_public_keys(context, paths)) ids.push_back(key.id());
  return ids;
}

SignatureFacts sign_model(const std::string& path, const std::string& key_path, const std::string& password) {
  const CryptoContext context;
  const PrivateKey key = read_private_key(context, key_path, password);
  const Subject subject = subject_of(path);
  Manifest manifest;
  if (subject.file.empty()) {
    const std::vector<std::string> names = list_files(subject.root);
    if (names.empty()) throw Error(ErrorCode::kModelLoadError, "the directory holds no file to sign");
    const std::vector<Digest> digests = hash_files(context, subject.root, names);
    for (std::size_t i = 0; i < names.size(); ++i) manifest.files.push_back({names[i], to_hex(digests[i])});
  } else {
    manifest.files.push_back({".", to_hex(digest_of_file(context, subject))});
  }
  const std::string bundle = sign_bundle(context, manifest, subject.name, key);
  if (bundle.size() > kMaxBundleBytes) {
    throw Error(ErrorCode::kModelLoadError, "the directory holds too many files for one signature");
  }
  write_atomically(subject.signature, bundle, 0644, Existing::kReplace);
  return facts_of(subject.signature, key.public_key().id(), manifest);
}

SignatureFacts verify_model(const std::string& path, const std::vector<std::string>& key_paths) {
  const CryptoContext context;
  const std::vector<PublicKey> keys = read_public_keys(context, key_paths);
  const Subject subject = subject_of(path);
  const std::string where = subject.signature_name();
  const std::string bundle = read_signature_file(open_named(subject.root, where), where);
  VerifiedManifest verified = verify_bundle(context, bundle, keys);
  const Manifest& manifest = verified.manifest;
  if (subject.file.empty()) {
    check_tree(context, subject.root, manifest, {});
  } else if (manifest.of_one_file() || (manifest.files.size() == 1 && manifest.files.front().name == subject.file)) {
    check_digest(manifest.files.front(), digest_of_file(context, subject));
  } else {
    throw Error(ErrorCode::kUnsignedFile,
                "the signature does not cover the file " + quoted(subject.file) + " by itself");
  }
  return facts_of(subject.signature, std::move(verified.signer), manifest);
}

std::string sign_statement(std::string_view statement, const std::string& key, const std::string& password) {
  const CryptoContext context;
  return integrity::sign_statement(statement, read_private_key(context, key, password));
}

std::string sign_registry(std::string_view payload, const std::vector<PrivateKeyFile>& keys) {
  const CryptoContext context;
  static_cast<void>(parse_registry(context, payload));
  return envelope_text(kRegistryType, payload, signatures_of(context, payload, keys));
}

std::string add_signatures(std::string_view text, const std::vector<PrivateKeyFile>& keys) {
  const CryptoContext context;
  const Envelope envelope = registry_envelope(text);
  static_cast<void>(parse_registry(context, envelope.payload));
  std::vector<EnvelopeSignature> signatures = signatures_of(context, envelope.payload, keys);
  const std::size_t added = signatures.size();
  for (const EnvelopeSignature& each : envelope.signatures) {
    const auto end = signatures.begin() + static_cast<std::ptrdiff_t>(added);
    const bool anew = std::any_of(signatures.begin(), end, [&](const auto& s) { return s.key_id == each.key_id; });
    if (!anew) signatures.push_back(each);
  }
  return envelope_text(kRegistryType, envelope.payload, signatures);
}

std::pair<std::string, std::vector<std::string>> open_registry(std::string_view text,
                                                               const std::vector<std::string>& key_paths,
                                                               const std::vector<PrivateKeyFile>& private_keys) {
  const CryptoContext context;
  Envelope envelope = registry_envelope(text);
  static_cast<void>(parse_registry(context, envelope.payload));
  std::vector<PublicKey> keys = read_public_keys(context, key_paths);
  for (const PrivateKeyFile& file : private_keys) {
    keys.push_back(read_private_key(context, file.path, file.password).public_key());
  }
  std::vector<std::string> signers = signers_of(envelope, keys);
  return {std::move(envelope.payload), std::move(signers)};
}

void write_file(const std::string& path, std::string_view content, unsigned mode) {
  write_atomically(path, content, mode, Existing::kReplace);
}

}  // namespace anya
