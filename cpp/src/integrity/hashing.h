// SPDX-License-Identifier: Apache-2.0
//
// Reading and hashing at once. Each function blocks until all of it is done; what fails throws, as in safe_open.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "integrity/owned_bytes.h"
#include "integrity/safe_open.h"
#include "integrity/sha256.h"

namespace anya::integrity {

struct HashedBytes {
  OwnedBytes bytes;
  Digest digest{};
};

// Reads a file whole; a second thread hashes what has been read, right behind the reader.
HashedBytes read_and_hash(const CryptoContext& context, const OpenFile& file, std::uint64_t max_bytes);

// Hashes a file piece by piece and keeps nothing of it.
Digest hash_file(const CryptoContext& context, const OpenFile& file);

// Calls task(0) … task(count - 1), as many at once as there are usable cores. The first failure is thrown when all that
// had begun have ended.
void in_parallel(std::size_t count, const std::function<void(std::size_t)>& task);

}  // namespace anya::integrity
