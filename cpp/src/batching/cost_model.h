// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "anya/clock.h"
#include "anya/stats.h"

namespace anya {

// A moving mean of durations that is quick to fall and slow to rise, never by more than threefold: what a run costs is
// its time when nothing held it up. Thread-safe; two at once may lose one observation, which only makes it staler.
class MovingMean {
 public:
  [[nodiscard]] Nanos get() const noexcept { return mean_.load(std::memory_order_relaxed); }  // 0: nothing known
  void take(Nanos value) noexcept {
    const Nanos old = get();
    const Nanos step = value < old ? (value - old) / 4 : (value < 4 * old ? value - old : 3 * old) / 16;
    mean_.store(old == 0 ? value : old + step, std::memory_order_relaxed);
  }
  void reset() noexcept { mean_.store(0, std::memory_order_relaxed); }

 private:
  std::atomic<Nanos> mean_{0};  // stands for itself, so relaxed
};

// How long a run of so many rows of one size takes, learned from the runs themselves: one moving average per power of
// two. Thread-safe; never blocks. Two observers at once may lose one observation, which only makes it a little staler.
class RowCosts {
 public:
  void observe(std::int64_t rows, Nanos duration) noexcept {
    Average& average = averages_[bucket(rows)];
    average.run.take(duration);
    average.row.take(duration / (rows > 1 ? rows : 1));
    // Relaxed throughout: each number stands for itself.
    average.seen.store(average.seen.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }

  // What a run was measured to take beforehand: counts like kEnough observations.
  void seed(std::int64_t rows, Nanos duration) noexcept {
    grow();
    for (std::uint32_t i = 0; i < kEnough; ++i) observe(rows, duration);
  }

  // From now on batches grow only as far as is known to pay. Until then there is no limit.
  void grow() noexcept { grows_.store(true, std::memory_order_relaxed); }

  void reset() noexcept {
    for (Average& average : averages_) {
      average.run.reset();
      average.row.reset();
      average.seen.store(0, std::memory_order_relaxed);
    }
  }

  // The largest batch that pays: the smallest power of two of rows whose cost per row is within 3 % of the best known.
  // If that is the largest that is known: one step more, as soon as it has been seen often enough; so sizes grow from
  // the smallest, and a model whose rows gain nothing from company never makes anybody wait for a large run.
  // `per_run`: what a run costs besides, whatever its rows. `free`: so short a run needs no proof that it pays.
  [[nodiscard]] std::int64_t paying_rows(Nanos per_run = 0, Nanos free = 0) const noexcept {
    Nanos best = 0;
    std::size_t best_at = 0;
    for (std::size_t at = 0; at < kBuckets; ++at) {
      const Nanos cost = row_cost(at, per_run);
      if (cost == 0 || (best != 0 && cost * 100 > best * 97)) continue;
      best = cost;
      best_at = at;
    }
    if (!grows_.load(std::memory_order_relaxed)) return INT64_MAX;
    const std::int64_t rows = std::int64_t{1} << best_at;
    if (best == 0 || !is_known(rows)) return std::max(rows, rows_within(free));
    for (std::size_t at = best_at + 1; at < kBuckets; ++at) {
      if (is_known(std::int64_t{1} << at)) return rows;
    }
    return std::max(2 * rows, rows_within(free));
  }

  // Seen often enough to say that it does not pay.
  [[nodiscard]] bool is_known(std::int64_t rows) const noexcept {
    return averages_[bucket(rows)].seen.load(std::memory_order_relaxed) >= kEnough;
  }

  // Whether rows in two runs of half the size are known to cost about what they cost in one, within 10 % each.
  [[nodiscard]] bool half_is_as_good(std::int64_t rows, Nanos per_run = 0) const noexcept {
    const std::size_t at = bucket(rows);
    if (at == 0) return false;
    const Nanos whole = row_cost(at, per_run);
    const Nanos half = row_cost(at - 1, per_run);
    return whole != 0 && half != 0 && half * 10 <= whole * 11;
  }

  // An upper estimate; 0: nothing known. A size never seen is taken to cost in proportion to the next smaller one.
  [[nodiscard]] Nanos predict(std::int64_t rows) const noexcept {
    Nanos estimate = 0;
    for (std::size_t at = 0; at <= bucket(rows); ++at) estimate = extended(estimate, at);
    return estimate;
  }

  // What a run of so many rows takes at least: the mean of the largest size known that is not larger; 0: none is.
  [[nodiscard]] Nanos at_least(std::int64_t rows) const noexcept {
    Nanos known = 0;
    for (std::size_t at = 0; at <= bucket(rows); ++at) {
      const Nanos mean = averages_[at].run.get();
      if (mean != 0) known = mean;
    }
    return known;
  }

  // The largest power of two of rows whose run is known or bounded to take less than `duration`; 1: none, or not known.
  [[nodiscard]] std::int64_t rows_within(Nanos duration) const noexcept {
    Nanos estimate = 0;
    std::int64_t rows = 1;
    for (std::size_t at = 0; at < kBuckets; ++at) {
      estimate = extended(estimate, at);
      if (estimate >= duration) break;
      if (estimate != 0) rows = std::int64_t{1} << at;
    }
    return rows;
  }

  // Appends what is known.
  void read(std::int64_t row_bytes, std::vector<RunTime>& out) const {
    for (std::size_t at = 0; at < kBuckets; ++at) {
      const Nanos run = averages_[at].run.get();
      if (run == 0) continue;
      out.push_back({std::int64_t{1} << at, row_bytes, static_cast<double>(run) * 1e-9,
                     static_cast<double>(averages_[at].row.get()) * 1e-9,
                     averages_[at].seen.load(std::memory_order_relaxed)});
    }
  }

 private:
  struct Average {
    MovingMean run;  // of a run
    MovingMean row;  // of a run, divided by its rows
    std::atomic<std::uint32_t> seen{0};
  };

  static constexpr std::uint32_t kEnough = 8;  // observations before a size is believed not to pay
  static constexpr std::size_t kBuckets = 21;  // up to 2^20 rows

  static std::size_t bucket(std::int64_t rows) noexcept {
    const auto width = static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(rows > 1 ? rows - 1 : 0)));
    return std::min(width, kBuckets - 1);
  }
  // 0: nothing known.
  [[nodiscard]] Nanos row_cost(std::size_t at, Nanos per_run) const noexcept {
    const Nanos cost = averages_[at].row.get();
    return cost == 0 ? 0 : cost + (per_run >> at);
  }
  // The mean of a bucket, or twice the estimate of the one before it.
  [[nodiscard]] Nanos extended(Nanos before, std::size_t at) const noexcept {
    const Nanos mean = averages_[at].run.get();
    return mean != 0 ? mean : before * 2;
  }

  std::array<Average, kBuckets> averages_;
  std::atomic<bool> grows_{false};
};

// The run times of one model: by the size of a row, in classes, and by rows. A model of one shape has one class.
// Thread-safe; never blocks.
class CostModel {
 public:
  static constexpr std::size_t kClasses = 128;

  // The class of a row of so many bytes, from 1 on: four classes to a doubling, so that rows of one class differ by a
  // quarter at most. Class 0 is that of models with one shape, whatever its size.
  [[nodiscard]] static std::uint16_t class_of(std::uint64_t row_bytes) noexcept {
    if (row_bytes < 8) return static_cast<std::uint16_t>(1 + row_bytes);
    const auto width = static_cast<std::uint64_t>(std::bit_width(row_bytes));
    const std::uint64_t at = (width - 2) * 4 + ((row_bytes >> (width - 3)) & 3U) + 1;
    return static_cast<std::uint16_t>(std::min<std::uint64_t>(at, kClasses - 1));
  }
  // The smallest row of a class; 0: class 0.
  [[nodiscard]] static std::int64_t row_bytes(std::size_t cost_class) noexcept {
    if (cost_class <= 8) return cost_class == 0 ? 0 : static_cast<std::int64_t>(cost_class) - 1;
    const std::size_t width = (cost_class - 1) / 4 + 2;
    return static_cast<std::int64_t>((4 + (cost_class - 1) % 4) << (width - 3));
  }

  explicit CostModel(bool one_shape) : costs_(one_shape ? 1 : kClasses) {
    if (one_shape) return;  // measured at load; where it was not, batches have no limit but their own
    for (RowCosts& costs : costs_) costs.grow();
  }

  [[nodiscard]] RowCosts& of(std::uint16_t cost_class) noexcept { return costs_[cost_class]; }
  [[nodiscard]] const RowCosts& of(std::uint16_t cost_class) const noexcept { return costs_[cost_class]; }

  void reset() noexcept {
    for (RowCosts& costs : costs_) costs.reset();
  }
  [[nodiscard]] std::vector<RunTime> read() const {
    std::vector<RunTime> known;
    for (std::size_t at = 0; at < costs_.size(); ++at) costs_[at].read(row_bytes(at), known);
    return known;
  }

 private:
  std::vector<RowCosts> costs_;
};

}  // namespace anya
