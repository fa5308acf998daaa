// SPDX-License-Identifier: Apache-2.0
//
// The trust registry: which models may run, until when, and which must not any more. One DSSE envelope, signed by k of
// n root keys. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "integrity/dsse.h"
#include "integrity/keys.h"
#include "integrity/model_digest.h"
#include "integrity/model_files.h"

namespace anya::integrity {

inline constexpr std::string_view kRegistryType = "application/vnd.anya.model-registry.v1+json";
inline constexpr std::uint64_t kMaxRegistryBytes = std::uint64_t{16} << 20;

enum class RegistryStatus : std::uint8_t { kActive, kDeprecated, kRevoked };

struct RegisteredModel {
  std::string name;  // empty: whatever it is loaded as
  std::uint64_t version = 1;
  std::string digest;                 // the model's identity; follows from the files
  std::vector<RegisteredFile> files;  // all that is parsed of it
  std::vector<std::string> signers;   // key ids; empty: any trusted key
  RegistryStatus status = RegistryStatus::kActive;
  std::string reason;
};

struct Registry {
  std::uint64_t version = 0;
  std::int64_t issued = 0;   // seconds since 1970
  std::int64_t expires = 0;  // the first second in which it is not believed any more
  std::vector<RegisteredModel> models;
  std::vector<std::string> revoked_keys;
  std::vector<std::string> revoked_digests;
  std::map<std::string, std::uint64_t> min_version;
  std::string payload_sha256;
};

// Throws kSignatureMalformed.
Registry parse_registry(const CryptoContext& context, std::string_view payload);

// From the text of a registry file. Throws kSignatureMalformed; kUntrustedKey when fewer than `threshold` different
// root keys have signed it.
Registry read_registry(const CryptoContext& context, std::string_view text, std::span<const PublicKey> roots,
                       std::size_t threshold);
// The envelope of a registry file. Throws kSignatureMalformed.
Envelope registry_envelope(std::string_view text);
// The ids of those keys that have signed it, each once.
std::vector<std::string> signers_of(const Envelope& envelope, std::span<const PublicKey> keys);

// Before a byte is parsed: throws unless some model that may run has these very files, as far as they have been read.
void check_files_registered(const Registry& registry, std::span<const ModelFile> files);

// Throws unless the registry lets these bytes run as `name`: kRevoked, kHashMismatch (not registered), kTrustError
// (registered under another name), kUntrustedKey (not by one of its signers), kRegistryRollback (below min_version).
// `signer` is empty when no signature was asked for. Gives the entry that lets them.
const RegisteredModel& check_registered(const Registry& registry, std::string_view name, std::string_view digest,
                                        std::string_view signer);

// "2026-11-23T01:00:00Z" to seconds since 1970; throws Malformed for anything written otherwise.
std::int64_t parse_time(std::string_view text);

}  // namespace anya::integrity
