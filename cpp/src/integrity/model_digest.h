// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "integrity/model_files.h"
#include "integrity/sha256.h"

namespace anya::integrity {

// What is written of a file that belongs to a model.
struct RegisteredFile {
  std::string name;
  std::uint64_t size = 0;
  std::string sha256;  // lower-case hex
};

// The identity of a model: lower-case hex of
//   SHA-256("anya-model-v1\0" || for each file in byte-wise order of names:
//           u32 length of the name || name || u64 size || SHA-256 of the file)       (integers little-endian)
// Names and lengths are bound, so no two sets of files share one. Thread-safe.
[[nodiscard]] std::string model_digest(const CryptoContext& context, const std::vector<ModelFile>& files);
// The same from what is written of files. REQUIRES: is_sha256 of each.
[[nodiscard]] std::string model_digest(const CryptoContext& context, const std::vector<RegisteredFile>& files);

}  // namespace anya::integrity
