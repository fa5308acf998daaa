// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "anya/cache.h"
#include "cache/index_hash.h"
#include "cache/key_mac.h"

namespace anya::cache {

// Makes questions: lays them out, and works out what they are found by. Immutable, thread-safe.
class Asker {
 public:
  explicit Asker(std::array<std::uint64_t, 2> seed) noexcept
      : index_(seed), mac_({hash_combine(seed[0], 1), hash_combine(seed[1], 2)}) {}

  // See ResponseCache::ask. A long question gets its sketch alone.
  void ask(std::string_view tenant, std::span<const std::uint32_t> outputs, std::span<const TensorView> inputs,
           CacheQuestion& question) const;
  // The hash of all of it.
  void hash(CacheQuestion& question) const noexcept;

 private:
  void sketch(CacheQuestion& question) const noexcept;

  const IndexHash index_;
  const KeyMac mac_;
};

}  // namespace anya::cache
