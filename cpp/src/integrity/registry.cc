// SPDX-License-Identifier: Apache-2.0
#include "integrity/registry.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>

#include "anya/status.h"
#include "base/text.h"
#include "integrity/manifest.h"
#include "integrity/model_digest.h"

namespace anya::integrity {
namespace {

constexpr std::size_t kMaxSignatures = 32;

std::string sha256_text(std::string text, const char* what) {
  if (!is_sha256(text)) throw Malformed(std::string(what) + " " + quoted(text, 80) + " is no SHA-256 in hex");
  return text;
}

std::vector<std::string> digests(const Json& json, std::string_view name, const char* what) {
  std::vector<std::string> all;
  for (const Json& each : json.array_at(name)) {
    if (each.kind != Json::Kind::kString) throw Malformed(std::string(what) + " is no string");
    all.push_back(sha256_text(each.text, what));
  }
  return all;
}

RegistryStatus status_of(const std::string& word) {
  if (word == "active") return RegistryStatus::kActive;
  if (word == "deprecated") return RegistryStatus::kDeprecated;
  if (word == "revoked") return RegistryStatus::kRevoked;
  throw Malformed("the status " + quoted(word, 40) + " is none of active, deprecated, revoked");
}

RegisteredModel model_of(const CryptoContext& context, const Json& json) {
  json.only({"name", "version", "digest", "files", "signers", "status", "reason"});
  RegisteredModel model;
  model.name = json.string_at("name");
  model.version = json.integer_at("version");
  model.digest = sha256_text(json.string_at("digest"), "the digest");
  for (const Json& each : json.array_at("files")) {
    each.only({"name", "size", "sha256"});
    RegisteredFile file{each.string_at("name"), each.integer_at("size"),
                        sha256_text(each.string_at("sha256"), "the digest of a file")};
    if (!relative_name_fault(file.name).empty()) throw Malformed("a file has the name " + quoted(file.name, 80));
    model.files.push_back(std::move(file));
  }
  model.signers = digests(json, "signers", "a signer");
  model.status = status_of(json.string_at("status"));
  model.reason = json.string_at("reason");
  if (model_digest(context, model.files) != model.digest) {
    throw Malformed("the digest " + quoted(model.digest, 64) + " is not that of its files");
  }
  return model;
}

[[noreturn]] void throw_malformed(const Malformed& fault) {
  throw Error(ErrorCode::kSignatureMalformed, std::string("the registry is malformed: ") + fault.what());
}

std::string because(const std::string& reason) { return reason.empty() ? "" : ": " + quoted(reason, 200); }

// Why this entry does not let the bytes run, if it does not.
std::optional<Error> refusal(const Registry& registry, const RegisteredModel& model, std::string_view name,
                             std::string_view signer) {
  if (!model.name.empty() && model.name != name) {
    return Error(ErrorCode::kTrustError,
                 "the registry knows these bytes as " + quoted(model.name, 80) + ", not as " + quoted(name, 80));
  }
  const bool any = signer.empty() || model.signers.empty();
  if (!any && std::ranges::find(model.signers, signer) == model.signers.end()) {
    return Error(ErrorCode::kUntrustedKey,
                 "the key " + quoted(signer, 64) + " is trusted, but the registry lets others sign this model");
  }
  const auto least = registry.min_version.find(std::string(name));
  if (least != registry.min_version.end() && model.version < least->second) {
    return Error(ErrorCode::kRegistryRollback, "these bytes are version " + std::to_string(model.version) +
                                                   " in the registry, which asks for " + std::to_string(least->second) +
                                                   " at least");
  }
  return std::nullopt;
}

bool holds(const RegisteredModel& model, const ModelFile& file) {
  return std::ranges::any_of(model.files, [&](const RegisteredFile& known) {
    return known.name == file.name && known.sha256 == to_hex(file.sha256);
  });
}

}  // namespace

Registry parse_registry(const CryptoContext& context, std::string_view payload) {
  try {
    const Json json = parse_json(payload);
    json.only({"version", "issued", "expires", "models", "revoked_keys", "revoked_digests", "min_version"});
    Registry registry;
    registry.version = json.integer_at("version");
    registry.issued = parse_time(json.string_at("issued"));
    registry.expires = parse_time(json.string_at("expires"));
    for (const Json& each : json.array_at("models")) registry.models.push_back(model_of(context, each));
    registry.revoked_keys = digests(json, "revoked_keys", "a revoked key");
    registry.revoked_digests = digests(json, "revoked_digests", "a revoked digest");
    const Json& least = json.object_at("min_version");
    for (const std::string& name : least.names) registry.min_version[name] = least.integer_at(name);
    registry.payload_sha256 = to_hex(sha256(context, std::as_bytes(std::span(payload.data(), payload.size()))));
    return registry;
  } catch (const Malformed& fault) {
    throw_malformed(fault);
  }
}

Registry read_registry(const CryptoContext& context, std::string_view text, std::span<const PublicKey> roots,
                       std::size_t threshold) {
  const Envelope envelope = registry_envelope(text);
  const std::size_t signers = signers_of(envelope, roots).size();
  if (signers < threshold) {
    throw Error(ErrorCode::kUntrustedKey, "the registry is signed by " + std::to_string(signers) + " of the " +
                                              std::to_string(roots.size()) + " keys trusted for it; " +
                                              std::to_string(threshold) + " must sign it");
  }
  return parse_registry(context, envelope.payload);
}

Envelope registry_envelope(std::string_view text) {
  JsonLimits limits;
  limits.max_string = kMaxRegistryBytes;
  try {
    return read_envelope(parse_json(text, limits), kRegistryType, kMaxSignatures);
  } catch (const Malformed& fault) {
    throw_malformed(fault);
  }
}

std::vector<std::string> signers_of(const Envelope& envelope, std::span<const PublicKey> keys) {
  std::vector<std::string> signers;
  for (const PublicKey& key : keys) {
    const bool counted = std::ranges::find(signers, key.id()) != signers.end();
    if (!counted && signed_by(envelope, key)) signers.push_back(key.id());
  }
  return signers;
}

void check_files_registered(const Registry& registry, std::span<const ModelFile> files) {
  const RegisteredModel* revoked = nullptr;
  for (const RegisteredModel& model : registry.models) {
    const bool all = std::ranges::all_of(files, [&](const ModelFile& file) { return holds(model, file); });
    if (all && model.status != RegistryStatus::kRevoked) return;
    if (all) revoked = &model;
  }
  if (revoked != nullptr) {
    throw Error(ErrorCode::kRevoked, "the registry has revoked this model" + because(revoked->reason));
  }
  throw Error(ErrorCode::kHashMismatch, "the registry knows no model with this " + quoted(files.back().name, 80) +
                                            " (SHA-256 " + to_hex(files.back().sha256) +
                                            "); register it, or put the registered bytes back");
}

const RegisteredModel& check_registered(const Registry& registry, std::string_view name, std::string_view digest,
                                        std::string_view signer) {
  const auto listed = [](const std::vector<std::string>& all, std::string_view one) {
    return std::ranges::find(all, one) != all.end();
  };
  if (listed(registry.revoked_digests, digest)) throw Error(ErrorCode::kRevoked, "the registry has revoked this model");
  if (listed(registry.revoked_keys, signer)) {
    throw Error(ErrorCode::kRevoked, "the registry has revoked the key " + quoted(signer, 64) + " that signed it");
  }
  std::optional<Error> first;
  const RegisteredModel* found = nullptr;
  for (const RegisteredModel& model : registry.models) {
    if (model.digest != digest) continue;
    if (model.status == RegistryStatus::kRevoked) {
      throw Error(ErrorCode::kRevoked, "the registry has revoked this model" + because(model.reason));
    }
    std::optional<Error> why = refusal(registry, model, name, signer);
    if (!why && found == nullptr) found = &model;
    if (why && !first) first = std::move(why);
  }
  if (found != nullptr) return *found;
  if (first) throw Error(*first);
  throw Error(ErrorCode::kHashMismatch,
              "the registry knows no model with the digest " + std::string(digest) + "; register it first");
}

std::int64_t parse_time(std::string_view text) {
  constexpr std::string_view kShape = "0000-00-00T00:00:00Z";
  const auto fits = [&](std::size_t i) {
    return kShape[i] == '0' ? text[i] >= '0' && text[i] <= '9' : text[i] == kShape[i];
  };
  bool good = text.size() == kShape.size();
  for (std::size_t i = 0; good && i < text.size(); ++i) good = fits(i);
  if (!good) throw Malformed("the time " + quoted(text, 40) + " is not written as 2026-01-31T23:59:59Z");
  const auto number = [&](std::size_t from, std::size_t count) {
    int value = 0;
    std::from_chars(text.data() + from, text.data() + from + count, value);
    return value;
  };
  const std::chrono::year_month_day day{std::chrono::year{number(0, 4)},
                                        std::chrono::month{static_cast<unsigned>(number(5, 2))},
                                        std::chrono::day{static_cast<unsigned>(number(8, 2))}};
  const int hour = number(11, 2);
  const int minute = number(14, 2);
  const int second = number(17, 2);
  if (!day.ok() || hour > 23 || minute > 59 || second > 59) throw Malformed("there is no time " + quoted(text, 40));
  const std::int64_t days = std::chrono::sys_days(day).time_since_epoch().count();
  return ((days * 24 + hour) * 60 + minute) * 60 + second;
}

}  // namespace anya::integrity
