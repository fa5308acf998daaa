// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "anya/clock.h"

namespace anya {

// How long a run of so many rows takes, learned from the runs themselves: one moving average per power of two.
// Thread-safe; never blocks. Two observers at once may lose one observation, which only makes it a little staler.
class CostModel {
 public:
  void observe(std::int64_t rows, Nanos duration) noexcept {
    std::atomic<Nanos>& mean = means_[bucket(rows)];
    const Nanos old = mean.load(std::memory_order_relaxed);  // relaxed throughout: each average stands for itself
    if (old == 0) {
      mean.store(duration, std::memory_order_relaxed);
      return;
    }
    // Down fast, up slowly and never by more than threefold: what a run costs is its time when nothing held it up.
    const Nanos step = duration < old ? (duration - old) / 4 : (duration < 4 * old ? duration - old : 3 * old) / 16;
    mean.store(old + step, std::memory_order_relaxed);
  }

  // An upper estimate; 0: nothing known. A size never seen is taken to cost in proportion to the next smaller one.
  [[nodiscard]] Nanos predict(std::int64_t rows) const noexcept {
    const std::size_t wanted = bucket(rows);
    for (std::size_t at = wanted + 1; at-- > 0;) {
      const Nanos mean = means_[at].load(std::memory_order_relaxed);
      if (mean != 0) return mean << (wanted - at);
    }
    return 0;
  }

  // The largest power of two of rows whose run is known or bounded to take less than `duration`; 1: none, or not known.
  [[nodiscard]] std::int64_t rows_within(Nanos duration) const noexcept {
    Nanos estimate = 0;
    std::int64_t rows = 1;
    for (std::size_t at = 0; at < kBuckets; ++at) {
      const Nanos mean = means_[at].load(std::memory_order_relaxed);
      estimate = mean != 0 ? mean : estimate * 2;
      if (estimate >= duration) break;
      if (estimate != 0) rows = std::int64_t{1} << at;
    }
    return rows;
  }

 private:
  static constexpr std::size_t kBuckets = 21;  // up to 2^20 rows
  static std::size_t bucket(std::int64_t rows) noexcept {
    const auto width = static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(rows > 1 ? rows - 1 : 0)));
    return width < kBuckets ? width : kBuckets - 1;
  }

  std::array<std::atomic<Nanos>, kBuckets> means_{};
};

}  // namespace anya
