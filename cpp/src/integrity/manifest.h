// SPDX-License-Identifier: Apache-2.0
//
// What a signature speaks of: the files of a model and their digests, as an in-toto statement of OpenSSF Model Signing
// 1.0 (method "files", SHA-256). Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "integrity/json.h"
#include "integrity/sha256.h"

namespace anya::integrity {

inline constexpr std::string_view kStatementType = "application/vnd.in-toto+json";

struct Resource {
  std::string name;
  std::string sha256;  // lower-case hex
};

// Files in byte-wise order of their names, each once, at least one.
struct Manifest {
  std::vector<Resource> files;

  [[nodiscard]] const Resource* find(std::string_view name) const;  // null: not listed
  // It speaks of one file by itself, which the format calls ".".
  [[nodiscard]] bool of_one_file() const { return files.size() == 1 && files.front().name == "."; }
};

// Throws kSignatureMalformed for anything but a whole and canonical statement; kTrustError, with the way out, for what
// the format has and we do not take (shards, other hashes). What its signer chose to ignore changes nothing here.
Manifest parse_statement(const CryptoContext& context, std::string_view payload);

// The statement to sign. `subject`: what the model is called; informational.
std::string statement_text(const CryptoContext& context, const Manifest& manifest, std::string_view subject);

// True for 64 lower-case hexadecimal digits.
bool is_sha256(std::string_view text);

}  // namespace anya::integrity
