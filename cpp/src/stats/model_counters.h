// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "anya/clock.h"
#include "anya/stats.h"
#include "stats/histogram.h"

namespace anya {

// The counters of one model, sharded by thread so that threads do not share a cache line.
// Thread-safe; never blocks; no counter is ever reset.
class ModelCounters {
 public:
  ModelCounters();

  void accepted(std::uint64_t count) noexcept { shard().accepted.fetch_add(count, std::memory_order_relaxed); }
  void refused(ErrorCode code, std::uint64_t count = 1) noexcept {
    shard().refused[static_cast<std::size_t>(code)].fetch_add(count, std::memory_order_relaxed);
  }
  // The one outcome of an accepted request. `started_at` 0: it never ran.
  void ended(ErrorCode code, Role role, Nanos accepted_at, Nanos started_at, Nanos ended_at) noexcept;
  void dispatched(Dispatch why) noexcept {
    shard().dispatches[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed);
  }
  void ran(std::int64_t rows) noexcept;
  void in_place() noexcept { shard().in_place.fetch_add(1, std::memory_order_relaxed); }
  void terminated() noexcept { shard().terminated.fetch_add(1, std::memory_order_relaxed); }
  void split() noexcept { shard().splits.fetch_add(1, std::memory_order_relaxed); }

  // Fills the counting fields. What has ended is read before what was accepted, so no snapshot shows more ends than
  // beginnings.
  void read(ModelStats& stats) const;
  [[nodiscard]] std::uint64_t in_flight() const noexcept;

 private:
  struct alignas(64) Shard {
    std::atomic<std::uint64_t> accepted{0};
    std::array<std::array<std::atomic<std::uint64_t>, kErrorCodeCount>, kRoleCount> ended{};
    std::array<std::atomic<std::uint64_t>, kErrorCodeCount> refused{};
    std::array<std::atomic<std::uint64_t>, kDispatchCount> dispatches{};
    std::atomic<std::uint64_t> batches{0};
    std::atomic<std::uint64_t> rows{0};
    std::atomic<std::uint64_t> in_place{0};
    std::atomic<std::uint64_t> splits{0};
    std::atomic<std::uint64_t> terminated{0};
    Histogram<kDurationEdges.size()> request;
    Histogram<kDurationEdges.size()> queue;
    Histogram<kDurationEdges.size()> compute;
    Histogram<kBatchEdges.size()> batch;
  };
  static constexpr std::size_t kShards = 8;

  [[nodiscard]] Shard& shard() const noexcept {
    // A thread's own address stands for the thread: no registry, no global counter.
    static thread_local char here;
    const auto address = reinterpret_cast<std::uintptr_t>(&here);
    return shards_[((address >> 12U) * 0x9E3779B97F4A7C15U) >> 61U];
  }

  std::unique_ptr<Shard[]> shards_;
};

}  // namespace anya
