// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include "anya/stats.h"
#include "stats/histogram.h"

namespace anya::cache {

// Where readers say that they are reading, each in a cache line of its own, so that they share none with each other.
//
// Eras: a writer takes something out of sight first and then ends the era; what was taken out in era e may be freed
// once no reader is inside that entered in era e or before. One order for all of it (seq_cst): a reader announces
// itself before its first look, a writer looks for readers after taking out. So either the writer sees the reader, or
// the reader's looks come after and cannot find what has gone.
// Thread-safe. enter and leave never block, but that a reader finds 64 others inside.
class ReaderSlots {
 public:
  // The owner of a slot counts in it without contention; sums are read by anybody.
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> era{kFree};
    std::atomic<std::uint64_t> hits{0}, stale{0}, stale_on_error{0}, misses{0}, collisions{0}, coalesced{0};
    Histogram<kAgeEdges.size()> age;
  };
  static constexpr std::uint64_t kFree = 0;
  static constexpr std::size_t kCount = 64;

  ReaderSlots() : slots_(new Slot[kCount]) {}

  [[nodiscard]] Slot& enter() noexcept {
    // A thread's own address stands for the thread: no registry, no global counter.
    static thread_local char here;
    const auto address = reinterpret_cast<std::uintptr_t>(&here);
    std::size_t at = ((address >> 12U) * 0x9E3779B97F4A7C15U) >> 58U;
    for (std::size_t tried = 1;; ++tried, at = (at + 1) % kCount) {
      std::uint64_t free = kFree;
      const std::uint64_t now = era_.load(std::memory_order_seq_cst);
      if (slots_[at].era.compare_exchange_strong(free, now, std::memory_order_seq_cst)) return slots_[at];
      if (tried % kCount == 0) std::this_thread::yield();
    }
  }
  // Release: what the reader has read, it read before a writer sees it gone.
  static void leave(Slot& slot) noexcept { slot.era.store(kFree, std::memory_order_release); }
  // One more, of a slot that the caller has entered.
  static void count(std::atomic<std::uint64_t>& counter) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  // For writers, one at a time. Ends the era and returns it.
  std::uint64_t end_era() noexcept { return era_.fetch_add(1, std::memory_order_seq_cst); }
  // The oldest era that somebody inside entered in; the present one when nobody is.
  [[nodiscard]] std::uint64_t oldest() const noexcept {
    std::uint64_t least = era_.load(std::memory_order_seq_cst);
    for (std::size_t i = 0; i < kCount; ++i) {
      const std::uint64_t era = slots_[i].era.load(std::memory_order_seq_cst);
      if (era != kFree && era < least) least = era;
    }
    return least;
  }

  [[nodiscard]] const Slot& operator[](std::size_t slot) const noexcept { return slots_[slot]; }
  static constexpr std::size_t kBytes = sizeof(Slot) * kCount;

 private:
  alignas(64) std::atomic<std::uint64_t> era_{1};
  std::unique_ptr<Slot[]> slots_;
};

}  // namespace anya::cache
