// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <bit>
#include <climits>
#include <cstdint>

#include "anya/clock.h"
#include "sync/futex.h"

namespace anya {

// Sleep until a condition may have changed, with no lock and no lost wake-up.
//
//   waiter:    key = prepare_wait(); if (condition) cancel_wait(); else wait(key, deadline);
//   notifier:  make the condition true; notify(n);
//
// Why no wake-up is lost: prepare_wait and notify are both read-modify-writes of one word, so one comes first. Notify
// first: the waiter's acquire sees the condition. Prepare first: the notifier sees a waiter, bumps the epoch and wakes.
// Sequentially consistent, so that callers may also rely on the order against other sequentially consistent words.
// Thread-safe. notify costs one atomic addition, and a system call only when somebody waits.
class EventCount {
 public:
  using Key = std::uint32_t;

  [[nodiscard]] Key prepare_wait() noexcept {
    return static_cast<Key>(word_.fetch_add(kOneWaiter, std::memory_order_seq_cst) >> kEpochShift);
  }
  void cancel_wait() noexcept { word_.fetch_sub(kOneWaiter, std::memory_order_seq_cst); }

  // Blocks until a notify after the matching prepare_wait, or until the deadline. Ends the wait that prepare_wait
  // began.
  void wait(Key key, Nanos deadline = kNever) noexcept {
    while (epoch(word_.load(std::memory_order_seq_cst)) == key) {
      if (futex_wait(epoch_address(), key, deadline) == FutexResult::kTimedOut) break;
    }
    cancel_wait();
  }

  // True when somebody was waiting: the caller then decides with wake() whether waking pays. Orders like notify.
  [[nodiscard]] bool announce() noexcept {
    return (word_.fetch_add(kOneEpoch, std::memory_order_seq_cst) & kWaiterMask) != 0;
  }
  void wake(int count) noexcept { futex_wake(epoch_address(), count); }
  void notify(int count) noexcept {
    if (announce()) wake(count);
  }
  void notify_all() noexcept { notify(INT_MAX); }

 private:
  static constexpr int kEpochShift = 32;
  static constexpr std::uint64_t kOneWaiter = 1;
  static constexpr std::uint64_t kOneEpoch = std::uint64_t{1} << kEpochShift;
  static constexpr std::uint64_t kWaiterMask = kOneEpoch - 1;
  static_assert(std::endian::native == std::endian::little, "the epoch must be the upper half in memory");
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

  static Key epoch(std::uint64_t word) noexcept { return static_cast<Key>(word >> kEpochShift); }
  [[nodiscard]] const std::uint32_t* epoch_address() const noexcept {
    return reinterpret_cast<const std::uint32_t*>(&word_) + 1;
  }

  alignas(64) std::atomic<std::uint64_t> word_{0};
};

}  // namespace anya
