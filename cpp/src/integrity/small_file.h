// SPDX-License-Identifier: Apache-2.0
//
// Files that the caller names and that are not the model's: keys, registries, signatures to write. Links on the way to
// them are followed, since the path is the caller's own word. All block on the disk; all are thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "anya/status.h"

namespace anya::integrity {

// The whole of a regular file. Throws `code` when it is not there, not regular, or larger.
std::string read_small_file(const std::string& path, std::uint64_t max_bytes, ErrorCode code);

// Whether what is there may be written over.
enum class Existing { kReplace, kRefuse };

// Writes beside the target, flushes, and puts it into place in one step: at any moment the old file or the new one is
// whole. Throws kConfigError; then the old one is as it was.
void write_atomically(const std::string& path, std::string_view content, unsigned mode, Existing existing);

}  // namespace anya::integrity
