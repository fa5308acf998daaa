// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace anya {

// How many rows a run may have when memory has run out for more: half of what did not fit, and twice as many again
// after a while in which that many fitted. Thread-safe; never blocks.
class RowLimit {
 public:
  explicit RowLimit(std::int64_t most) noexcept : most_(most), now_(most) {}

  [[nodiscard]] std::int64_t now() const noexcept { return now_.load(std::memory_order_relaxed); }

  // A run of so many rows had no memory.
  void ran_out(std::int64_t rows) noexcept {
    fitted_.store(0, std::memory_order_relaxed);
    std::int64_t old = now();
    const std::int64_t half = std::max<std::int64_t>(1, rows / 2);
    while (half < old && !now_.compare_exchange_weak(old, half, std::memory_order_relaxed)) {
    }
  }
  // A run of so many rows went well.
  void fitted(std::int64_t rows) noexcept {
    std::int64_t old = now();
    if (old >= most_ || rows * 2 <= old) return;  // says nothing of more
    if (fitted_.fetch_add(1, std::memory_order_relaxed) + 1 < kPatience) return;
    fitted_.store(0, std::memory_order_relaxed);
    now_.compare_exchange_strong(old, std::min(most_, old * 2), std::memory_order_relaxed);
  }

 private:
  static constexpr std::uint32_t kPatience = 64;  // runs near the limit before more is tried

  const std::int64_t most_;
  // Hints for the next batch: nothing else hangs on them, so relaxed.
  std::atomic<std::int64_t> now_;
  std::atomic<std::uint32_t> fitted_{0};
};

}  // namespace anya
