// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "anya/clock.h"
#include "anya/stats.h"
#include "stats/exemplar.h"
#include "stats/histogram.h"
#include "stats/prediction.h"

namespace anya {

// The counters of one model, sharded by thread so that threads do not share a cache line. They are atomic words that
// stand for themselves, in memory of their own or in memory that other processes read: whoever dies leaves them whole.
// Thread-safe; never blocks; no counter is ever reset.
class ModelCounters {
 public:
  // What the memory needs: bytes, aligned to 64.
  [[nodiscard]] static std::size_t bytes() noexcept;
  ModelCounters();
  // Counts on where the memory stands; all zero at first. Keeps `owner` alive. Throws Error(kConfigError) when it is
  // too small or not aligned.
  ModelCounters(std::span<std::byte> memory, std::shared_ptr<void> owner);

  // Takes over counts that were copied from somewhere. REQUIRES: nobody else uses it yet.
  void become(std::span<const std::byte> words) noexcept;

  void accepted(std::uint64_t count) noexcept { shard().accepted.fetch_add(count, std::memory_order_relaxed); }
  void refused(ErrorCode code, std::uint64_t count = 1) noexcept {
    shard().refused[static_cast<std::size_t>(code)].fetch_add(count, std::memory_order_relaxed);
  }
  // The one outcome of an accepted request. `started_at` 0: it never ran.
  void ended(ErrorCode code, Role role, Nanos accepted_at, Nanos started_at, Nanos ended_at) noexcept;
  // One that belongs to a trace, before it has ended.
  void traced(std::uint64_t trace_high, std::uint64_t trace_low, Nanos duration) noexcept;
  void dispatched(Dispatch why) noexcept {
    shard().dispatches[static_cast<std::size_t>(why)].fetch_add(1, std::memory_order_relaxed);
  }
  // So many have come into the queue, or left it.
  void queued(std::uint64_t count) noexcept { shard().queued.fetch_add(count, std::memory_order_relaxed); }
  void left_queue(std::uint64_t count) noexcept { shard().left_queue.fetch_add(count, std::memory_order_relaxed); }
  void began() noexcept { shard().began.fetch_add(1, std::memory_order_relaxed); }
  void ran(std::int64_t rows) noexcept;
  void predicted(std::span<const Prediction> predictions) noexcept;  // less than 65 536
  void in_place() noexcept { shard().in_place.fetch_add(1, std::memory_order_relaxed); }
  void terminated() noexcept { shard().terminated.fetch_add(1, std::memory_order_relaxed); }
  void split() noexcept { shard().splits.fetch_add(1, std::memory_order_relaxed); }

  // Fills the counting fields. What has ended is read before what was accepted, so no snapshot shows more ends than
  // beginnings. Queue depth and busy instances are those of the counts: for who has nothing better to ask.
  void read(ModelStats& stats) const;
  // The same for what was predicted, of so many classes at least.
  void read_predictions(ModelStats& stats, std::span<const std::string> classes) const;
  [[nodiscard]] std::uint64_t in_flight() const noexcept;
  // Requests that ended well.
  [[nodiscard]] std::uint64_t succeeded() const noexcept;

  static constexpr std::size_t kClasses = 50;  // that are counted one by one

 private:
  struct alignas(64) Shard {
    std::atomic<std::uint64_t> accepted{0};
    std::array<std::array<std::atomic<std::uint64_t>, kErrorCodeCount>, kRoleCount> ended{};
    std::array<std::atomic<std::uint64_t>, kErrorCodeCount> refused{};
    std::array<std::atomic<std::uint64_t>, kDispatchCount> dispatches{};
    std::atomic<std::uint64_t> queued{0};
    std::atomic<std::uint64_t> left_queue{0};
    std::atomic<std::uint64_t> began{0};
    std::atomic<std::uint64_t> batches{0};
    std::atomic<std::uint64_t> rows{0};
    std::atomic<std::uint64_t> in_place{0};
    std::atomic<std::uint64_t> splits{0};
    std::atomic<std::uint64_t> terminated{0};
    Histogram<kDurationEdges.size()> request;
    Histogram<kDurationEdges.size()> queue;
    Histogram<kDurationEdges.size()> compute;
    Histogram<kBatchEdges.size()> batch;
    Histogram<kShareEdges.size()> confidence;
    Histogram<kShareEdges.size()> margin;
    Histogram<kShareEdges.size()> entropy;
    std::array<std::atomic<std::uint64_t>, kClasses + 2> classes{};  // then all others, then what was no distribution
  };
  static constexpr std::size_t kShards = 8;
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

  [[nodiscard]] Shard& shard() const noexcept {
    // A thread's own address stands for the thread: no registry, no global counter.
    static thread_local char here;
    const auto address = reinterpret_cast<std::uintptr_t>(&here);
    return shards_[((address >> 12U) * 0x9E3779B97F4A7C15U) >> 61U];
  }

  std::array<ExemplarSlot<>, kDurationEdges.size() + 1> exemplars_;  // by bucket of the request's duration
  const std::shared_ptr<void> owner_;                                // of the memory
  Shard* const shards_;
};

}  // namespace anya
