// SPDX-License-Identifier: Apache-2.0
#include "integrity/manifest.h"

#include <algorithm>

#include "anya/status.h"
#include "base/text.h"
#include "integrity/file_tree.h"
#include "integrity/safe_open.h"

namespace anya::integrity {
namespace {

constexpr std::string_view kStatement = "https://in-toto.io/Statement/v1";
constexpr std::string_view kPredicate = "https://model_signing/signature/v1.0";
constexpr std::size_t kMaxResources = 100'000;

[[noreturn]] void throw_unsupported(const std::string& what) {
  throw Error(ErrorCode::kTrustError,
              "the signature uses " + what + ", which is not supported; sign with the method 'files' and 'sha256'");
}

void expect(const Json& json, std::string_view name, std::string_view wanted) {
  const std::string& text = json.string_at(name);
  if (text != wanted) {
    throw Malformed("its " + quoted(name, 40) + " is " + quoted(text, 80) + ", not " + quoted(wanted, 80));
  }
}

// SHA-256 over the raw digests in the order in which the files are listed (the reference sorts by path components). It
// binds no names, so it is checked and identifies nothing.
std::string root_of(const CryptoContext& context, const std::vector<Resource>& files) {
  Sha256 hash(context);
  for (const Resource& file : files) hash.update(from_hex(file.sha256));
  return to_hex(hash.finish());
}

void check_serialization(const Json& json) {
  json.only({"method", "hash_type", "allow_symlinks", "ignore_paths", "shard_size"});
  const std::string& method = json.string_at("method");
  const std::string& hash = json.string_at("hash_type");
  if (method != "files") throw_unsupported("the method " + quoted(method, 40));
  if (hash != "sha256") throw_unsupported("the hash " + quoted(hash, 40));
  if (json.find("shard_size") != nullptr) throw Malformed("it has a 'shard_size' without shards");
  if (json.at("allow_symlinks").kind != Json::Kind::kFalse) throw Malformed("it allows symbolic links");
  if (json.find("ignore_paths") == nullptr) return;
  for (const Json& path : json.array_at("ignore_paths")) {
    if (path.kind != Json::Kind::kString) throw Malformed("a path to ignore is no string");
  }
}

Resource resource(const Json& json) {
  Resource file{json.string_at("name"), json.string_at("digest")};
  const std::string& algorithm = json.string_at("algorithm");
  if (algorithm != "sha256") throw_unsupported("the hash " + quoted(algorithm, 40));
  if (!is_sha256(file.sha256)) throw Malformed("the digest of " + quoted(file.name, 80) + " is no SHA-256 in hex");
  return file;
}

Manifest read_statement(const CryptoContext& context, std::string_view payload) {
  const Json json = parse_json(payload);
  json.only({"_type", "subject", "predicateType", "predicate"});
  expect(json, "_type", kStatement);
  expect(json, "predicateType", kPredicate);
  const std::vector<Json>& subjects = json.array_at("subject");
  if (subjects.size() != 1) throw Malformed("it has " + std::to_string(subjects.size()) + " subjects, not one");
  static_cast<void>(subjects.front().string_at("name"));
  const std::string& root = subjects.front().object_at("digest").string_at("sha256");
  const Json& predicate = json.object_at("predicate");
  predicate.only({"serialization", "resources"});
  check_serialization(predicate.object_at("serialization"));

  Manifest manifest;
  for (const Json& each : predicate.array_at("resources")) {
    if (manifest.files.size() == kMaxResources) throw Malformed("it lists more than 100000 files");
    manifest.files.push_back(resource(each));
  }
  if (manifest.files.empty()) throw Malformed("it lists no file");
  if (!manifest.of_one_file()) {
    for (const Resource& file : manifest.files) {
      const std::string fault = relative_name_fault(file.name);
      if (!fault.empty()) throw Malformed("it lists " + quoted(file.name, 80) + ", a name that " + fault);
    }
  }
  if (root_of(context, manifest.files) != root) throw Malformed("its subject is not the sum of its files");
  std::ranges::sort(manifest.files, {}, &Resource::name);
  const auto twice = std::ranges::adjacent_find(manifest.files, {}, &Resource::name);
  if (twice != manifest.files.end()) throw Malformed("it lists " + quoted(twice->name, 80) + " twice");
  return manifest;
}

}  // namespace

const Resource* Manifest::find(std::string_view name) const {
  const auto found = std::ranges::lower_bound(files, name, {}, &Resource::name);
  return found == files.end() || found->name != name ? nullptr : &*found;
}

Manifest parse_statement(const CryptoContext& context, std::string_view payload) {
  try {
    return read_statement(context, payload);
  } catch (const Malformed& fault) {
    throw Error(ErrorCode::kSignatureMalformed, std::string("the signed statement is malformed: ") + fault.what());
  }
}

std::string statement_text(const CryptoContext& context, const Manifest& manifest, std::string_view subject) {
  std::string ignored;
  for (const std::string_view path : kUnsignedPaths) ignored += json_quoted(path) + ",";
  std::string text = "{\"_type\":" + json_quoted(kStatement) + ",\"subject\":[{\"name\":" + json_quoted(subject) +
                     ",\"digest\":{\"sha256\":\"" + root_of(context, manifest.files) +
                     "\"}}],\"predicateType\":" + json_quoted(kPredicate) +
                     ",\"predicate\":{\"serialization\":{\"method\":\"files\",\"hash_type\":\"sha256\","
                     "\"allow_symlinks\":false,\"ignore_paths\":[" +
                     ignored + json_quoted(kSignatureName) + "]},\"resources\":[";
  for (const Resource& file : manifest.files) {
    if (&file != &manifest.files.front()) text += ',';
    text += "{\"name\":" + json_quoted(file.name) + ",\"digest\":\"" + file.sha256 + "\",\"algorithm\":\"sha256\"}";
  }
  return text + "]}}";
}

bool is_sha256(std::string_view text) {
  return text.size() == 64 &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace anya::integrity
