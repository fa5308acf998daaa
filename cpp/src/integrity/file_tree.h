// SPDX-License-Identifier: Apache-2.0
//
// The files of a model's directory as a whole: which there are, and what they hash to.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "integrity/manifest.h"
#include "integrity/safe_open.h"
#include "integrity/sha256.h"

namespace anya::integrity {

inline constexpr std::string_view kSignatureName = "model.sig";

// What a version control system leaves in a directory: not signed, not refused, and never loaded unless it is signed.
inline constexpr std::array<std::string_view, 4> kUnsignedPaths = {".git", ".gitattributes", ".github", ".gitignore"};

// The names of all files below a directory in byte-wise order, without the signature and kUnsignedPaths at its top.
// Throws kUnsafeFile for what is neither a file nor a directory (a link, a socket), kTrustError for names that no
// manifest can hold, or more than 100,000 of them. Thread-safe. Blocks on the disk.
std::vector<std::string> list_files(const Fd& root);

// Their digests, read in parallel and kept nowhere. Throws kFileMissing for one that is not there.
std::vector<Digest> hash_files(const CryptoContext& context, const Fd& root, const std::vector<std::string>& names);

}  // namespace anya::integrity
