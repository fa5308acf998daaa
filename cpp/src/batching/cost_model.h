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
    const std::size_t at = bucket(rows);
    average(means_[at], duration);
    average(per_row_[at], duration / (rows > 1 ? rows : 1));
    // Relaxed throughout: each number stands for itself.
    const std::uint32_t seen = seen_[at].load(std::memory_order_relaxed);
    if (seen < kEnough) seen_[at].store(seen + 1, std::memory_order_relaxed);
  }

  // What a run was measured to take beforehand: counts like kEnough observations.
  void seed(std::int64_t rows, Nanos duration) noexcept {
    for (std::uint32_t i = 0; i < kEnough; ++i) observe(rows, duration);
  }

  // The largest batch that pays: the smallest power of two of rows whose cost per row is within 3 % of the best known.
  // No limit as long as no larger size is known not to pay.
  [[nodiscard]] std::int64_t paying_rows() const noexcept {
    Nanos best = 0;
    std::size_t best_at = 0;
    for (std::size_t at = 0; at < kBuckets; ++at) {
      const Nanos cost = per_row_[at].load(std::memory_order_relaxed);
      if (cost == 0 || (best != 0 && cost * 100 > best * 97)) continue;
      best = cost;
      best_at = at;
    }
    for (std::size_t at = best_at + 1; best != 0 && at < kBuckets; ++at) {
      if (seen_[at].load(std::memory_order_relaxed) >= kEnough) return std::int64_t{1} << best_at;
    }
    return INT64_MAX;
  }

  // Whether rows in two runs of half the size are known to cost about what they cost in one, within 10 % each.
  [[nodiscard]] bool half_is_as_good(std::int64_t rows) const noexcept {
    const std::size_t at = bucket(rows);
    if (at == 0) return false;
    const Nanos whole = per_row_[at].load(std::memory_order_relaxed);
    const Nanos half = per_row_[at - 1].load(std::memory_order_relaxed);
    return whole != 0 && half != 0 && half * 10 <= whole * 11;
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

  static void average(std::atomic<Nanos>& mean, Nanos value) noexcept {
    const Nanos old = mean.load(std::memory_order_relaxed);
    // Down fast, up slowly and never by more than threefold: what a run costs is its time when nothing held it up.
    const Nanos step = value < old ? (value - old) / 4 : (value < 4 * old ? value - old : 3 * old) / 16;
    mean.store(old == 0 ? value : old + step, std::memory_order_relaxed);
  }

  static constexpr std::uint32_t kEnough = 8;  // observations before a size is believed not to pay

  std::array<std::atomic<Nanos>, kBuckets> means_{};    // of a run
  std::array<std::atomic<Nanos>, kBuckets> per_row_{};  // of a run, divided by its rows
  std::array<std::atomic<std::uint32_t>, kBuckets> seen_{};
};

}  // namespace anya
