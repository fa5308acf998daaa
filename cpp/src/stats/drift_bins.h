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
    // Filled up to one less than a power of two, so that the search has a fixed number of steps;
    // and one more, so that there is always a next one.
    half_ = std::bit_ceil(points_.size() + 1) / 2;
    points_.resize(std::max<std::size_t>(2, 2 * half_), std::numeric_limits<double>::infinity());
    if (feature.keys.empty() && feature.edges.size() >= 2) make_grid(feature.edges);
  }

  [[nodiscard]] std::size_t source() const noexcept { return source_; }
  [[nodiscard]] std::size_t bins() const noexcept { return bins_; }

  // Counts `rows` values, `stride` apart, into `counts` (one for each bin) and `tally`.
  template <typename T, typename Wide>
  void count(const T* values, std::size_t stride, std::size_t rows, Wide wide, std::uint64_t* counts,
             DriftTally& tally) const noexcept {
    const bool is_numeric = keys_ == 0;
    Sums sums{0, 0, tally.min, tally.max, center_};
    std::size_t row = 0;
    if (!grid_.empty()) {
      const Grid grid{grid_.data(), points_.data(), low_, scale_, last_cell_};  // copies, which no count can change
      for (; row < rows; ++row) {
        const double x = wide(values[row * stride]);
        if (!is_finite(x)) [[unlikely]] {
          odd(x, tally);
          continue;
        }
        ++counts[grid.bin_of(x)];
        sums.add(x);
      }
    }
    const Search search{points_.data(), half_};
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
  // A cell of a grid over the edges holds one of them at most: one look and one comparison find a bin. Rounding cannot
  // harm: which cell a number is in grows with the number, whether it is an edge or a value.
  struct Grid {
    const std::uint8_t* below;  // edges in earlier cells
    const double* points;
    double low, scale, last_cell;

    [[nodiscard]] std::size_t cell_of(double x) const noexcept {
      return static_cast<std::size_t>(std::min(std::max((x - low) * scale, 0.0), last_cell));
    }
    [[nodiscard]] std::size_t bin_of(double x) const noexcept {
      const std::size_t first = below[cell_of(x)];
      return first + static_cast<std::size_t>(points[first] < x);
    }
  };
  // Where edges are too close together for a grid, values are searched for.
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

  void make_grid(const std::vector<double>& edges) {
    if (edges.size() > UINT8_MAX) return;
    for (std::size_t cells = 64; cells <= 512 && grid_.empty(); cells *= 2) {
      low_ = edges.front();
      scale_ = static_cast<double>(cells) / (edges.back() - edges.front());
      last_cell_ = static_cast<double>(cells - 1);
      if (!is_finite(scale_) || !is_finite(edges.back() - edges.front())) return;
      const Grid grid{nullptr, nullptr, low_, scale_, last_cell_};
      std::vector<std::uint8_t> in_cell(cells);
      for (const double edge : edges) ++in_cell[grid.cell_of(edge)];
      if (std::ranges::max(in_cell) > 1) continue;
      std::uint8_t below = 0;
      for (const std::uint8_t own : in_cell) {
        grid_.push_back(below);
        below = static_cast<std::uint8_t>(below + own);
      }
    }
  }
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
  std::vector<std::uint8_t> grid_;  // empty: there is none
  double low_ = 0, scale_ = 0, last_cell_ = 0;
};

}  // namespace anya
