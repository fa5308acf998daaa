// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "anya/stats.h"

namespace anya {

// One shard of a histogram with fixed upper edges. Thread-safe; never blocks. `Unit` turns the observed integer into
// the edges' unit when the sum is read.
template <std::size_t N>
class Histogram {
 public:
  // Relaxed everywhere: buckets are independent counts, and a reader derives the total from the buckets it has read.
  void observe(std::size_t bucket, std::uint64_t value) noexcept {
    count(bucket);
    add(value);
  }
  // The two halves of it: who observes many things at once adds their values once.
  void count(std::size_t bucket, std::uint64_t times = 1) noexcept {
    counts_[bucket].fetch_add(times, std::memory_order_relaxed);
  }
  void add(std::uint64_t values) noexcept { sum_.fetch_add(values, std::memory_order_relaxed); }
  void add_to(HistogramSnapshot& out, double unit) const {
    for (std::size_t i = 0; i <= N; ++i) out.counts[i] += counts_[i].load(std::memory_order_relaxed);
    out.sum += static_cast<double>(sum_.load(std::memory_order_relaxed)) * unit;
  }

 private:
  std::array<std::atomic<std::uint64_t>, N + 1> counts_{};
  std::atomic<std::uint64_t> sum_{0};
};

// The first bucket whose upper edge is not below `value`.
template <std::size_t N>
std::size_t bucket_of(const std::array<std::uint64_t, N>& edges, std::uint64_t value) noexcept {
  std::size_t bucket = 0;
  while (bucket < N && value > edges[bucket]) ++bucket;
  return bucket;
}

}  // namespace anya
