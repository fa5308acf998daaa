// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "cache/entry.h"

namespace anya::cache {

// Who goes when the cache is full. Not thread-safe, but for `hit`.
class Eviction {
 public:
  virtual ~Eviction() = default;
  // A reader was answered by this entry: sets a mark on it, moves nothing. Called by readers.
  virtual void hit(Entry& entry, Nanos now) const noexcept = 0;
  // Throws std::bad_alloc; then nothing has changed.
  virtual void add(Entry& entry, Nanos now) = 0;
  // For a reason of its own (age, replacement): the policy learns nothing from it.
  virtual void remove(Entry& entry) noexcept = 0;
  // Takes out the one that is worth least. Null: there is none.
  virtual Entry* evict() noexcept = 0;
  // What the policy keeps in memory for each entry.
  [[nodiscard]] virtual std::size_t overhead() const noexcept = 0;
};

// The one whose last hit (its arrival counts as one) is longest ago, exactly; of equals the one that came first.
std::unique_ptr<Eviction> make_lru();
// S3-FIFO (Yang et al., SOSP 2023): a small queue, a tenth of `capacity`, through which everything comes in; a main
// queue for what was asked for more than once there, or comes again soon after it has left; the hashes of what has
// left lately. Hits count up to three.
std::unique_ptr<Eviction> make_s3fifo(std::uint64_t capacity);

}  // namespace anya::cache
