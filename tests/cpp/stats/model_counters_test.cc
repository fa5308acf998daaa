// SPDX-License-Identifier: Apache-2.0
#include "stats/model_counters.h"

#include <numeric>
#include <thread>
#include <vector>

#include "support/check.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::ErrorCode;
using anya::HistogramSnapshot;
using anya::ModelCounters;
using anya::ModelStats;
using anya::Nanos;
using anya::Role;

namespace {

ModelStats read(const ModelCounters& counters) {
  ModelStats stats;
  counters.read(stats);
  return stats;
}
std::uint64_t sum(const auto& counts) { return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}); }
std::uint64_t at(const ModelStats& stats, ErrorCode code) { return stats.ended[static_cast<std::size_t>(code)]; }

}  // namespace

TEST(ModelCounters, EveryFamilyExistsFromTheStart) {
  const ModelStats stats = read(ModelCounters());
  EXPECT_EQ(stats.accepted, 0u);
  for (const HistogramSnapshot* histogram : {&stats.request_duration, &stats.queue_duration, &stats.compute_duration}) {
    EXPECT_EQ(histogram->edges.size(), anya::kDurationEdges.size());
    EXPECT_EQ(histogram->counts, std::vector<std::uint64_t>(anya::kDurationEdges.size() + 1));
  }
  EXPECT_EQ(stats.batch_size.counts, std::vector<std::uint64_t>(anya::kBatchEdges.size() + 1));
}

TEST(ModelCounters, AcceptedIsEndedAndInFlight) {
  ModelCounters counters;
  counters.accepted(5);
  counters.refused(ErrorCode::kOverloaded, 3);
  counters.ended(ErrorCode::kOk, Role::kStable, 100, 200, 300);
  counters.ended(ErrorCode::kCancelled, Role::kStable, 100, 0, 300);
  const ModelStats stats = read(counters);
  EXPECT_EQ(stats.accepted, 5u);
  EXPECT_EQ(stats.in_flight, 3u);
  EXPECT_EQ(counters.in_flight(), 3u);
  EXPECT_EQ(at(stats, ErrorCode::kOk), 1u);
  EXPECT_EQ(at(stats, ErrorCode::kCancelled), 1u);
  EXPECT_EQ(sum(stats.ended), 2u);
  EXPECT_EQ(stats.refused[static_cast<std::size_t>(ErrorCode::kOverloaded)], 3u);
  EXPECT_EQ(sum(stats.refused), 3u);
}

TEST(ModelCounters, WhatNeverRanHasNoQueueAndNoRun) {
  ModelCounters counters;
  counters.accepted(2);
  counters.ended(ErrorCode::kOk, Role::kStable, 100, 200, 400);
  counters.ended(ErrorCode::kDeadlineExceeded, Role::kStable, 100, 0, 1100);
  const ModelStats stats = read(counters);
  EXPECT_EQ(sum(stats.request_duration.counts), 2u);
  EXPECT_EQ(sum(stats.queue_duration.counts), 1u);
  EXPECT_EQ(sum(stats.compute_duration.counts), 1u);
  EXPECT_EQ(static_cast<int>(stats.request_duration.sum * 1e9 + 0.5), 1300);
  EXPECT_EQ(static_cast<int>(stats.queue_duration.sum * 1e9 + 0.5), 100);
  EXPECT_EQ(static_cast<int>(stats.compute_duration.sum * 1e9 + 0.5), 200);
}

// Each edge itself lies in the bucket it closes, one nanosecond more in the next.
TEST(ModelCounters, DurationsFallAtTheirExactEdges) {
  for (std::size_t edge = 0; edge < anya::kDurationEdges.size(); ++edge) {
    const Nanos exact = static_cast<Nanos>(anya::kDurationEdges[edge] * 1e9 + 0.5);
    ModelCounters counters;
    counters.accepted(2);
    counters.ended(ErrorCode::kOk, Role::kStable, 1000, 1000, 1000 + exact);
    counters.ended(ErrorCode::kOk, Role::kStable, 1000, 1000, 1000 + exact + 1);
    const ModelStats stats = read(counters);
    EXPECT_EQ(stats.request_duration.counts[edge], 1u);
    EXPECT_EQ(stats.request_duration.counts[edge + 1], 1u);
    EXPECT_EQ(stats.compute_duration.counts[edge], 1u);
    EXPECT_EQ(stats.compute_duration.counts[edge + 1], 1u);
    EXPECT_EQ(stats.queue_duration.counts[0], 2u);
  }
}

TEST(ModelCounters, BatchesFallAtTheirExactEdges) {
  for (std::size_t edge = 0; edge < anya::kBatchEdges.size(); ++edge) {
    const auto exact = static_cast<std::int64_t>(anya::kBatchEdges[edge]);
    ModelCounters counters;
    counters.ran(exact);
    counters.ran(exact + 1);
    const ModelStats stats = read(counters);
    EXPECT_EQ(stats.batches, 2u);
    EXPECT_EQ(stats.rows, static_cast<std::uint64_t>(2 * exact + 1));
    EXPECT_EQ(stats.batch_size.counts[edge], 1u);
    EXPECT_EQ(stats.batch_size.counts[edge + 1], 1u);
  }
}

TEST(ModelCounters, AClockThatStoodStillCountsAsZero) {
  ModelCounters counters;
  counters.accepted(1);
  counters.ended(ErrorCode::kOk, Role::kStable, 500, 400, 300);
  const ModelStats stats = read(counters);
  EXPECT_EQ(stats.request_duration.counts[0], 1u);
  EXPECT_EQ(stats.request_duration.sum, 0.0);
}

TEST(ModelCounters, CountsRunsInPlaceAndSplits) {
  ModelCounters counters;
  counters.in_place();
  counters.split();
  counters.split();
  EXPECT_EQ(read(counters).in_place, 1u);
  EXPECT_EQ(read(counters).splits, 2u);
}

// Acceptances and ends come from different threads, so from different shards; no snapshot may show an end without its
// beginning, and none is lost.
TEST(ModelCounters, NoSnapshotShowsMoreEndsThanBeginnings) {
  const Watchdog watchdog("writers and a reader of counters");
  constexpr int kThreads = 3;
  constexpr std::uint64_t kEach = 20'000;
  ModelCounters counters;
  std::vector<std::unique_ptr<std::atomic<std::uint64_t>>> handed;
  for (int i = 0; i < kThreads; ++i) handed.push_back(std::make_unique<std::atomic<std::uint64_t>>(0));
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    std::atomic<std::uint64_t>& mine = *handed[static_cast<std::size_t>(i)];
    threads.emplace_back([&counters, &mine] {
      for (std::uint64_t n = 0; n < kEach; ++n) {
        counters.accepted(1);
        mine.fetch_add(1, std::memory_order_release);
      }
    });
    threads.emplace_back([&counters, &mine] {
      for (std::uint64_t n = 0; n < kEach; ++n) {
        until([&] { return mine.load(std::memory_order_acquire) > n; });
        counters.ended(ErrorCode::kOk, Role::kStable, 1, 2, 3);
      }
    });
  }
  ModelStats stats;
  do {
    stats = read(counters);
    EXPECT_LE(sum(stats.ended), stats.accepted);
    EXPECT_EQ(stats.in_flight, stats.accepted - sum(stats.ended));
    EXPECT_LE(counters.in_flight(), kThreads * kEach);
  } while (sum(stats.ended) < kThreads * kEach);
  for (std::thread& thread : threads) thread.join();
  stats = read(counters);
  EXPECT_EQ(stats.accepted, kThreads * kEach);
  EXPECT_EQ(stats.in_flight, 0u);
  EXPECT_EQ(sum(stats.request_duration.counts), kThreads * kEach);
}

// Each thread ends what it has just accepted, so hardly anything is in flight: a reader that looked at the beginnings
// first would see more ends.
TEST(ModelCounters, InFlightNeverGoesBelowZero) {
  const Watchdog watchdog("writers that end at once, and a reader");
  constexpr std::uint64_t kThreads = 2;
  constexpr std::uint64_t kEach = 200'000;
  ModelCounters counters;
  std::atomic<std::uint64_t> done{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (std::uint64_t n = 0; n < kEach; ++n) {
        counters.accepted(1);
        counters.ended(ErrorCode::kOk, Role::kStable, 1, 2, 3);
      }
      done.fetch_add(1);
    });
  }
  std::uint64_t impossible = 0;
  while (done.load() < kThreads) {
    if (counters.in_flight() > kThreads * kEach) ++impossible;
    const ModelStats stats = read(counters);
    if (sum(stats.ended) > stats.accepted || stats.in_flight > kThreads * kEach) ++impossible;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(impossible, 0u);
  EXPECT_EQ(counters.in_flight(), 0u);
}
