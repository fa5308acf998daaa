// SPDX-License-Identifier: Apache-2.0
#include "integrity/trust_check.h"

#include <algorithm>

#include "base/text.h"
#include "integrity/file_tree.h"
#include "integrity/hashing.h"

namespace anya::integrity {
namespace {

// What a manifest calls a file. A single file is called "." in a manifest of its own, or by its name.
const Resource* listed(const Manifest& manifest, const ModelFiles& files, const std::string& name) {
  if (files.single_file().empty()) return manifest.of_one_file() ? nullptr : manifest.find(name);
  if (manifest.files.size() != 1 || name != kModelName) return nullptr;
  const Resource& only = manifest.files.front();
  return only.name == "." || only.name == files.single_file() ? &only : nullptr;
}

}  // namespace

void TrustCheck::before_parse(ModelFiles& files) {
  if (trust_.asks_signature) read_signature(files);
  files.expect([this, &files](const ModelFile& file) { check_file(files, file); });
  if (!trust_.asks_registry) return;
  registry_ = trust_.read_registry();  // from now on check_file holds files against it, too
  check_files_registered(registry_->impl().registry, files.files());
}

void TrustCheck::read_signature(const ModelFiles& files) {
  if (!files.root()) {
    throw Error(ErrorCode::kSignatureMissing,
                "the model was given as bytes, which have no signature beside them; load its file or directory");
  }
  const std::string& single = files.single_file();
  const std::string name = single.empty() ? std::string(kSignatureName) : single + ".sig";
  VerifiedManifest verified =
      verify_bundle(trust_.crypto, read_signature_file(files.open_beside(name), name), trust_.keys);
  manifest_ = std::move(verified.manifest);
  signer_ = std::move(verified.signer);
}

void TrustCheck::check_file(const ModelFiles& files, const ModelFile& file) const {
  if (trust_.asks_signature) {
    const Resource* const signed_file = listed(manifest_, files, file.name);
    if (signed_file == nullptr) {
      const char* const way = files.single_file().empty() ? "sign the directory again" : "sign its directory instead";
      throw Error(ErrorCode::kUnsignedFile,
                  "the signature does not cover " + quoted(file.name) + ", which the model needs; " + way);
    }
    check_digest(*signed_file, file.sha256);
  }
  // The registry knows models; what is no part of one is nobody's but the signature's to vouch for.
  if (registry_ && file.name != kProfileName) check_files_registered(registry_->impl().registry, {&file, 1});
}

bool TrustCheck::before_session(const ModelFiles& files, const std::string& digest) {
  if (trust_.asks_signature && files.single_file().empty()) {
    std::vector<std::string> verified;
    for (const ModelFile& file : files.files()) verified.push_back(file.name);
    check_tree(files.crypto(), files.root(), manifest_, verified);
  }
  if (!registry_) return false;
  return check_registered(registry_->impl().registry, name_, digest, signer_).status == RegistryStatus::kDeprecated;
}

void TrustCheck::check_library(const OperatorLibrary& library) const {
  if (!registry_) return;
  try {
    check_registered(registry_->impl().registry, library.name, library.digest, "");
  } catch (const Error& error) {
    throw Error(error.code(), "the library of operators " + quoted(library.name) + ": " + error.what());
  }
}

std::string read_signature_file(const OpenFile& file, const std::string& where) {
  if (!file.fd) {
    throw Error(ErrorCode::kSignatureMissing, "there is no signature " + quoted(where) + "; sign the model first");
  }
  if (file.size > kMaxBundleBytes) {
    throw Error(ErrorCode::kSignatureMalformed, "the signature is malformed: it holds " + std::to_string(file.size) +
                                                    " bytes, the limit is " + std::to_string(kMaxBundleBytes));
  }
  const OwnedBytes bytes = read_whole(file, kMaxBundleBytes);
  return {reinterpret_cast<const char*>(bytes.bytes().data()), bytes.size()};
}

void check_digest(const Resource& signed_file, const Digest& digest) {
  const std::string found = to_hex(digest);
  if (found == signed_file.sha256) return;
  throw Error(ErrorCode::kHashMismatch, "the file " + quoted(signed_file.name) + " is not the one that was signed (" +
                                            found.substr(0, 16) + "… instead of " + signed_file.sha256.substr(0, 16) +
                                            "…); put the signed one back, or sign again");
}

void check_tree(const CryptoContext& context, const Fd& root, const Manifest& manifest,
                const std::vector<std::string>& verified) {
  for (const std::string& name : list_files(root)) {
    if (manifest.find(name) != nullptr) continue;
    throw Error(ErrorCode::kUnsignedFile,
                "the file " + quoted(name) + " is not covered by the signature; remove it, or sign again");
  }
  std::vector<std::string> names;
  std::vector<const Resource*> rest;
  for (const Resource& file : manifest.files) {
    if (std::ranges::find(verified, file.name) != verified.end()) continue;
    names.push_back(file.name);
    rest.push_back(&file);
  }
  const std::vector<Digest> digests = hash_files(context, root, names);
  for (std::size_t i = 0; i < rest.size(); ++i) check_digest(*rest[i], digests[i]);
}

}  // namespace anya::integrity
