// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "integrity/model_files.h"
#include "integrity/sha256.h"

namespace anya::integrity {

// The identity of a model: lower-case hex of
//   SHA-256("anya-model-v1\0" || for each file in byte-wise order of names:
//           u32 length of the name || name || u64 size || SHA-256 of the file)       (integers little-endian)
// Names and lengths are bound, so no two sets of files share one. Thread-safe.
[[nodiscard]] std::string model_digest(const CryptoContext& context, const std::vector<ModelFile>& files);

}  // namespace anya::integrity
