// SPDX-License-Identifier: Apache-2.0
//
// Shared libraries that bring operators of their own: code, so held against a hash before a byte of it is mapped.
#pragma once

#include <string>

#include "integrity/model_digest.h"
#include "integrity/sha256.h"

namespace anya::integrity {

// Verified, and kept where nobody can change it.
struct OperatorLibrary {
  std::string name;    // the file's own, without folders
  std::string digest;  // what a registry knows it by: model_digest of this one file
  std::string path;    // what is to be opened in its place; good for as long as the process lives
};

// Reads the library at an absolute path whose file is no link, and holds it against `sha256` (lower-case hex). What is
// opened later are these bytes, in sealed memory of the process's own, whatever becomes of the file; they stay for the
// process's life, once per content. Throws kConfigError (not absolute), kModelLoadError (cannot be read, or no memory
// can be sealed), kUnsafeFile (a link, no regular file), kHashMismatch. Blocks on the disk. Thread-safe.
[[nodiscard]] OperatorLibrary keep_operator_library(const CryptoContext& context, const std::string& path,
                                                    const std::string& sha256);

// What a registry would say of the library at a path. Throws as above.
[[nodiscard]] RegisteredFile identify_operator_library(const CryptoContext& context, const std::string& path);

}  // namespace anya::integrity
