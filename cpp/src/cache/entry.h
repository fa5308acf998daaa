// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "anya/cache.h"
#include "anya/clock.h"

namespace anya::cache {

// A kept answer. Readers see what is constant and `used`; the rest is the writers'.
struct Entry {
  // Constant once readers can find it.
  std::uint64_t hash = 0;
  std::shared_ptr<const CacheKey> key;
  std::shared_ptr<const CachedAnswer> answer;
  Nanos stored_at = 0;
  Nanos stale_from = kNever;
  Nanos gone_from = kNever;  // beyond everything that may be given stale
  std::uint64_t serial = 0;  // order of arrival
  std::uint64_t bytes = 0;   // with everything that is kept for it

  std::atomic<Entry*> next{nullptr};  // of its bucket
  // What hits leave: how often (S3-FIFO) or when last (LRU). Relaxed: a hint, and one that is lost does no harm.
  std::atomic<Nanos> used{0};

  // A place in a queue, and in the order of arrival.
  struct Link {
    Entry* before = nullptr;
    Entry* after = nullptr;
  };
  Link queue, arrival;
  bool is_main = false;                        // S3-FIFO: which queue
  std::pair<Nanos, std::uint64_t> rank{0, 0};  // LRU: under what it is filed
  std::uint64_t retired_in = 0;                // era; see ReaderSlots
};

// Entries in a row, linked through a member of theirs. Not thread-safe.
template <Entry::Link Entry::* kLink>
class EntryList {
 public:
  [[nodiscard]] Entry* front() const noexcept { return front_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }
  void push_back(Entry& entry) noexcept {
    entry.*kLink = {back_, nullptr};
    (back_ == nullptr ? front_ : (back_->*kLink).after) = &entry;
    back_ = &entry;
    bytes_ += entry.bytes;
  }
  void remove(Entry& entry) noexcept {
    const Entry::Link link = entry.*kLink;
    (front_ == &entry ? front_ : (link.before->*kLink).after) = link.after;
    (back_ == &entry ? back_ : (link.after->*kLink).before) = link.before;
    bytes_ -= entry.bytes;
  }

 private:
  Entry* front_ = nullptr;
  Entry* back_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace anya::cache
