// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "anya/load_driver.h"

namespace anya {

// Counts of non-negative integers in buckets whose width grows with the value: 32 to each power of two, so a percentile
// is within 1.6 % of the exact one; below 32 it is exact. Fixed size; nothing is allocated. Not thread-safe.
class LogHistogram {
 public:
  void add(std::int64_t value) noexcept {
    value = std::max<std::int64_t>(0, value);
    ++counts_[index_of(static_cast<std::uint64_t>(value))];
    ++count_;
    sum_ += static_cast<double>(value);
    min_ = std::min(min_, value);
    max_ = std::max(max_, value);
  }

  void merge(const LogHistogram& other) noexcept {
    for (std::size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
    count_ += other.count_;
    sum_ += other.sum_;
    min_ = std::min(min_, other.min_);
    max_ = std::max(max_, other.max_);
  }

  // The value that `share` of all are not above; 0 when there are none.
  [[nodiscard]] double percentile(double share) const noexcept {
    if (count_ == 0) return 0;
    const auto rank = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(count_)));
    std::uint64_t seen = 0;
    std::size_t index = 0;
    for (; index + 1 < counts_.size(); ++index) {
      seen += counts_[index];
      if (seen >= std::max<std::uint64_t>(1, rank)) break;
    }
    return std::clamp(middle_of(index), static_cast<double>(min_), static_cast<double>(max_));
  }

  [[nodiscard]] LoadSpread spread(double unit) const noexcept {
    if (count_ == 0) return {};
    return {count_,
            sum_ / static_cast<double>(count_) * unit,
            static_cast<double>(min_) * unit,
            percentile(0.5) * unit,
            percentile(0.9) * unit,
            percentile(0.95) * unit,
            percentile(0.99) * unit,
            percentile(0.999) * unit,
            static_cast<double>(max_) * unit};
  }

 private:
  static constexpr int kBits = 5;          // 2^5 buckets to each power of two
  static constexpr int kLargestBits = 45;  // in nanoseconds about ten hours; what is longer counts as that
  static constexpr std::size_t kSub = std::size_t{1} << kBits;

  static std::size_t index_of(std::uint64_t value) noexcept {
    value = std::min(value, (std::uint64_t{1} << kLargestBits) - 1);
    if (value < kSub) return value;
    const int shift = static_cast<int>(std::bit_width(value)) - 1 - kBits;
    return static_cast<std::size_t>(shift) * kSub + static_cast<std::size_t>(value >> shift);
  }
  static double middle_of(std::size_t index) noexcept {
    if (index < 2 * kSub) return static_cast<double>(index);  // one value to a bucket
    const std::size_t shift = index / kSub - 1;
    const std::uint64_t low = (index - shift * kSub) << shift;
    return static_cast<double>(low) + static_cast<double>((std::uint64_t{1} << shift) - 1) / 2;
  }

  std::array<std::uint64_t, static_cast<std::size_t>(kLargestBits - kBits + 1) * kSub> counts_{};
  std::uint64_t count_ = 0;
  double sum_ = 0;
  std::int64_t min_ = INT64_MAX;
  std::int64_t max_ = 0;
};

}  // namespace anya
