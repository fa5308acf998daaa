// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "anya/drift.h"

namespace anya {

// Where values of one feature are counted: bins by its edges or keys, sums about its centre. Constant, so thread-safe;
// what is counted belongs to the caller.
class DriftBins {
 public:
  explicit DriftBins(const DriftFeature& feature)
      : source_(feature.source), bins_(feature.bins), center_(feature.center), key_bins_(feature.key_bins) {
    points_ = feature.keys.empty() ? feature.edges : feature.keys;
    keys_ = feature.keys.size();
    // Filled up to one less than a power of two, so that the search has a fixed number of steps.
    half_ = std::bit_ceil(points_.size() + 1) / 2;
    points_.resize(std::max<std::size_t>(2, 2 * half_) - 1, std::numeric_limits<double>::infinity());
  }

  [[nodiscard]] std::size_t source() const noexcept { return source_; }
  [[nodiscard]] std::size_t bins() const noexcept { return bins_; }

  // Counts `rows` values, `stride` apart, into `counts` (one for each bin) and `tally`.
  template <typename T, typename Wide>
  void count(const T* values, std::size_t stride, std::size_t rows, Wide wide, std::uint64_t* counts,
             DriftTally& tally) const noexcept {
    const Search search{points_.data(), half_};  // copies, which no count can be thought to change
    const bool is_numeric = keys_ == 0;
    Sums sums{0, 0, tally.min, tally.max, center_};
    std::size_t row = 0;
    for (; row + kTogether <= rows && is_numeric; row += kTogether) {
      double x[kTogether];
      bool all_finite = true;
      for (std::size_t i = 0; i < kTogether; ++i) {
        x[i] = wide(values[(row + i) * stride]);
        all_finite &= is_finite(x[i]);
      }
      if (!all_finite) [[unlikely]]
        break;  // the rest one by one
      // Each step of a search waits for the one before: several searches wait together.
      std::size_t at[kTogether] = {};
      for (std::size_t step = search.half; step > 0; step /= 2) {
#pragma GCC unroll 4
        for (std::size_t i = 0; i < kTogether; ++i) at[i] += search.step(at[i], step, x[i]);
      }
      for (std::size_t i = 0; i < kTogether; ++i) {
        ++counts[at[i]];
        sums.add(x[i]);
      }
    }
    for (; row < rows; ++row) {
      const double x = wide(values[row * stride]);
      if (!is_finite(x)) [[unlikely]] {
        odd(x, tally);
        continue;
      }
      std::size_t at = 0;
      for (std::size_t step = search.half; step > 0; step /= 2) at += search.step(at, step, x);
      ++counts[is_numeric ? at : bin_of_key(at, x)];
      sums.add(x);
    }
    tally.sum += sums.sum;
    tally.squares += sums.squares;
    tally.min = sums.low;
    tally.max = sums.high;
  }

 private:
  static constexpr std::size_t kTogether = 4;

  struct Search {
    const double* points;
    std::size_t half;
    // Without a branch, since which way it goes is chance.
    [[nodiscard]] std::size_t step(std::size_t at, std::size_t size, double x) const noexcept {
      return size & (std::size_t{0} - static_cast<std::size_t>(points[at + size - 1] < x));
    }
  };
  struct Sums {
    double sum, squares, low, high, center;
    void add(double x) noexcept {
      const double apart = x - center;
      sum += apart;
      squares += apart * apart;
      low = x < low ? x : low;
      high = x > high ? x : high;
    }
  };

  static bool is_finite(double x) noexcept { return std::fabs(x) <= std::numeric_limits<double>::max(); }
  // `below`: how many keys are below x.
  [[nodiscard]] std::size_t bin_of_key(std::size_t below, double x) const noexcept {
    return below < keys_ && points_[below] == x ? key_bins_[below] : bins_ - 1;
  }
  static void odd(double x, DriftTally& tally) noexcept {
    if (std::isnan(x)) {
      ++tally.nan;
    } else {
      ++(x > 0 ? tally.pos_inf : tally.neg_inf);
    }
  }

  std::size_t source_;
  std::size_t bins_;
  double center_;
  std::vector<double> points_;
  std::size_t keys_ = 0;  // 0: numeric
  std::vector<std::uint32_t> key_bins_;
  std::size_t half_ = 0;
};

}  // namespace anya
