// SPDX-License-Identifier: Apache-2.0
#include "stats/drift_monitor.h"

#include <atomic>
#include <cmath>
#include <limits>
#include <new>
#include <numeric>
#include <thread>

#include "support/check.h"
#include "support/fake_clock.h"

using anya::DriftCounts;
using anya::DriftFeature;
using anya::DriftKind;
using anya::DriftMonitor;
using anya::DriftPlan;
using anya::DriftTensor;
using anya::DType;
using anya::OutputBuffer;
using anya::Shape;
using anya::TensorView;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

std::atomic<std::size_t> allocations{0};

DriftFeature numeric(std::uint32_t source, std::vector<double> edges) {
  DriftFeature feature;
  feature.source = source;
  feature.bins = static_cast<std::uint32_t>(edges.size() + 1);
  feature.edges = std::move(edges);
  return feature;
}

// Two columns of float32, an input or an output.
DriftTensor columns(bool is_output) {
  DriftTensor tensor;
  tensor.is_output = is_output;
  tensor.numbers = 2;
  tensor.features = {numeric(0, {0, 1, 2}), numeric(1, {10})};
  return tensor;
}

struct Rows {
  explicit Rows(std::vector<float> given) : values(std::move(given)) {
    const Shape shape{static_cast<std::int64_t>(values.size() / 2), 2};
    input = {DType::kFloat32, shape, values.data(), values.size() * sizeof(float)};
    output.dtype = DType::kFloat32;
    output.shape = shape;
    output.data = values.data();
    output.bytes = input.bytes;
  }
  DriftMonitor::Run run(std::span<const DriftMonitor::Asker> askers, anya::Nanos compute = 1000) const {
    return {askers, {&input, 1}, {&output, 1}, {&index, 1}, compute};
  }
  std::vector<float> values;
  TensorView input;
  OutputBuffer output;
  std::uint32_t index = 0;
};

std::uint64_t sum(const std::vector<std::uint64_t>& bins) {
  return std::accumulate(bins.begin(), bins.end(), std::uint64_t{0});
}

}  // namespace

[[gnu::noinline]] void* operator new(std::size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

TEST(DriftMonitor, ABinEndsAtItsEdgeAndOddValuesAreInNone) {
  anya::test::FakeClock clock;
  const DriftMonitor::Asker asker{1, 9};
  DriftMonitor monitor({{columns(true)}, 1.0}, 1, clock);
  const float nan = std::nanf("");
  const auto inf = static_cast<float>(kInf);
  const Rows rows({-5, 1, 0, 10, 0.5, 10.5, 1, 20, 1.5, 1, 2, 1, 3, 1, nan, inf, 9e30F, -inf});
  monitor.look(0, rows.run({&asker, 1}));
  const DriftCounts counts = monitor.take();
  EXPECT_EQ(counts.bins, (std::vector<std::uint64_t>{2, 2, 2, 2, 5, 2}));
  EXPECT_EQ(counts.tallies[0].nan, 1U);
  EXPECT_EQ(counts.tallies[1].pos_inf, 1U);
  EXPECT_EQ(counts.tallies[1].neg_inf, 1U);
  EXPECT_EQ(counts.tallies[0].min, -5.0);
  EXPECT_EQ(counts.tallies[0].max, static_cast<double>(9e30F));
  EXPECT_EQ(counts.tallies[1].sum, 44.5);
  EXPECT_EQ(counts.rows, 9U);
  EXPECT_EQ(monitor.take().rows, 0U);
}

TEST(DriftMonitor, EverySizeOfHistogramFindsEveryBin) {
  anya::test::FakeClock clock;
  for (int edges = 0; edges <= 70; ++edges) {
    DriftTensor tensor;
    tensor.is_output = true;
    tensor.numbers = 1;
    std::vector<double> at(static_cast<std::size_t>(edges));
    std::iota(at.begin(), at.end(), 0.0);
    tensor.features = {numeric(0, at)};
    DriftMonitor monitor({{tensor}, 1.0}, 1, clock);
    std::vector<double> values;
    for (int bin = 0; bin <= edges; ++bin) values.push_back(bin - 0.5);
    const DriftMonitor::Asker asker{1, static_cast<std::int64_t>(values.size())};
    OutputBuffer output;
    output.dtype = DType::kFloat64;
    output.shape = Shape{asker.rows, 1};
    output.data = values.data();
    const std::uint32_t index = 0;
    monitor.look(0, {{&asker, 1}, {}, {&output, 1}, {&index, 1}, 1});
    EXPECT_EQ(monitor.take().bins, std::vector<std::uint64_t>(values.size(), 1));
  }
}

TEST(DriftMonitor, CategoriesHaveTheirBinsAndTheRestTheLast) {
  anya::test::FakeClock clock;
  DriftTensor tensor;
  tensor.is_output = true;
  tensor.numbers = 1;
  DriftFeature feature;
  feature.keys = {-3, 0, 7, 9};
  feature.key_bins = {1, 0, 2, 2};
  feature.bins = 4;
  tensor.features = {feature};
  DriftMonitor monitor({{tensor}, 1.0}, 1, clock);
  std::vector<std::int64_t> values = {0, 0, 0, -3, 7, 9, 9, 8, 100, -4};
  const DriftMonitor::Asker asker{1, 10};
  OutputBuffer output;
  output.dtype = DType::kInt64;
  output.shape = Shape{10};
  output.data = values.data();
  const std::uint32_t index = 0;
  monitor.look(0, {{&asker, 1}, {}, {&output, 1}, {&index, 1}, 1});
  EXPECT_EQ(monitor.take().bins, (std::vector<std::uint64_t>{3, 1, 3, 3}));
}

TEST(DriftMonitor, InputsAreSampledByRequestAndOutputsAreNot) {
  anya::test::FakeClock clock;
  DriftMonitor monitor({{columns(false), columns(true)}, 0.25}, 2, clock);
  DriftMonitor again({{columns(false), columns(true)}, 0.25}, 1, clock);
  for (std::uint64_t id = 0; id < 1000; ++id) {
    const DriftMonitor::Asker askers[] = {{2 * id, 1}, {2 * id + 1, 2}};
    const auto x = static_cast<float>(id % 5);
    const Rows rows({x, x, x + 1, x, x + 1, x});
    monitor.look(id % 2, rows.run(askers));
    again.look(0, rows.run(askers));
  }
  const DriftCounts counts = monitor.take();
  EXPECT_EQ(counts.rows, 3000U);
  EXPECT_GT(counts.sampled_rows, 600U);
  EXPECT_LT(counts.sampled_rows, 900U);
  EXPECT_EQ(sum({counts.bins.begin(), counts.bins.begin() + 4}), counts.sampled_rows);
  EXPECT_EQ(sum({counts.bins.begin() + 6, counts.bins.begin() + 10}), 3000U);
  EXPECT_EQ(again.take().bins, counts.bins);
}

TEST(DriftMonitor, KeptRowsAreCountedThoughTheirMemoryHasChanged) {
  anya::test::FakeClock clock;
  DriftMonitor monitor({{columns(false), columns(true)}, 1.0}, 1, clock);
  const DriftMonitor::Asker asker{1, 2};
  Rows rows({0.5, 1, 0.5, 1});
  monitor.keep(0, rows.run({&asker, 1}));
  rows.values.assign(4, 100.0F);
  const DriftCounts early = monitor.take();
  EXPECT_EQ(early.rows + early.sampled_rows + sum(early.bins), 0U);  // no row without its values
  monitor.look_at_kept(0);
  const DriftCounts counts = monitor.take();
  EXPECT_EQ(counts.rows, 2U);
  EXPECT_EQ(counts.sampled_rows, 2U);
  EXPECT_EQ(counts.bins, (std::vector<std::uint64_t>{0, 2, 0, 0, 2, 0, 0, 2, 0, 0, 2, 0}));
  monitor.look_at_kept(0);
  const DriftCounts late = monitor.take();
  EXPECT_EQ(late.rows + sum(late.bins), 0U);
}

TEST(DriftMonitor, WhatIsTooLargeToKeepIsCountedAtOnce) {
  anya::test::FakeClock clock;
  DriftMonitor monitor({{columns(true)}, 1.0}, 1, clock);
  const DriftMonitor::Asker asker{1, 20'000};
  const Rows rows(std::vector<float>(40'000, 0.5F));
  monitor.keep(0, rows.run({&asker, 1}));
  EXPECT_EQ(monitor.take().bins[1], 20'000U);
}

TEST(DriftMonitor, TheBudgetSetsTheRate) {
  // A look seems to take as long as the clock moves between its two readings.
  struct SlowClock : anya::Clock {
    anya::Nanos now() const noexcept override { return at.fetch_add(1000); }
    mutable std::atomic<anya::Nanos> at{1};
  } clock;
  DriftMonitor monitor({{columns(false)}, -1.0, 0.01}, 1, clock);
  const Rows rows({0.5, 1});
  for (std::uint64_t id = 0; id < 100'000; ++id) {
    const DriftMonitor::Asker asker{id, 1};
    monitor.look(0, rows.run({&asker, 1}, 110'000));  // of 1 % of it the clock's first step leaves a tenth of a look
  }
  const double rate = static_cast<double>(monitor.take().sampled_rows) / 100'000;
  EXPECT_GT(rate, 0.09);
  EXPECT_LT(rate, 0.11);
}

TEST(DriftMonitor, OutputsComeFirstInTheBudget) {
  struct SlowClock : anya::Clock {
    anya::Nanos now() const noexcept override { return at.fetch_add(1000); }
    mutable std::atomic<anya::Nanos> at{1};
  } clock;
  for (const auto& [compute, expected] : {std::pair{1'000'000, 1.0}, {150'000, 0.5}, {50'000, 0.05}}) {
    DriftMonitor monitor({{columns(false), columns(true)}, -1.0, 0.01}, 1, clock);
    const Rows rows({0.5, 1});
    for (std::uint64_t id = 0; id < 100'000; ++id) {
      const DriftMonitor::Asker asker{id, 1};
      monitor.look(0, rows.run({&asker, 1}, compute));  // each half of a look takes 1000
    }
    const double rate = static_cast<double>(monitor.take().sampled_rows) / 100'000;
    EXPECT_GT(rate, 0.9 * expected);
    EXPECT_LT(rate, 1.1 * expected);
  }
}

TEST(DriftMonitor, AShapeThatIsNotThePlansIsNotCounted) {
  anya::test::FakeClock clock;
  DriftMonitor monitor({{columns(true)}, 1.0}, 1, clock);
  const DriftMonitor::Asker asker{1, 2};
  Rows rows({1, 1, 1, 1});
  rows.output.shape = Shape{1, 4};
  monitor.look(0, rows.run({&asker, 1}));
  EXPECT_EQ(sum(monitor.take().bins), 0U);
}

TEST(DriftMonitor, LookingAllocatesNothing) {
  anya::test::FakeClock clock;
  DriftTensor embedding;
  embedding.is_output = true;
  embedding.kind = DriftKind::kEmbedding;
  embedding.numbers = 10;
  embedding.centroid.assign(2, 1.0F);
  embedding.features = {numeric(8, {1, 2})};
  DriftMonitor monitor({{columns(false), columns(true), embedding}, 1.0}, 1, clock);
  const DriftMonitor::Asker asker{1, 2};
  const Rows rows({0.5, 1, 0.5, 1});
  const std::size_t before = allocations.load();
  for (int i = 0; i < 100; ++i) {
    monitor.look(0, rows.run({&asker, 1}));
    monitor.keep(0, rows.run({&asker, 1}));
    monitor.look_at_kept(0);
  }
  EXPECT_EQ(allocations.load(), before);
  EXPECT_EQ(monitor.take().rows, 400U);
}

TEST(DriftMonitor, NothingIsLostWhileOthersCount) {
  anya::test::FakeClock clock;
  constexpr std::size_t kThreads = 4;
  constexpr std::uint64_t kRuns = 20'000;
  DriftMonitor monitor({{columns(true)}, 1.0}, kThreads, clock);
  std::vector<std::thread> threads;
  std::atomic<std::size_t> running{kThreads};
  for (std::size_t shard = 0; shard < kThreads; ++shard) {
    threads.emplace_back([&, shard] {
      const Rows rows({0.5, 1});
      const DriftMonitor::Asker asker{1, 1};
      for (std::uint64_t i = 0; i < kRuns; ++i) monitor.look(shard, rows.run({&asker, 1}));
      running.fetch_sub(1);
    });
  }
  std::uint64_t counted = 0;
  std::uint64_t rows = 0;
  const auto take = [&] {
    const DriftCounts counts = monitor.take();
    counted += counts.bins[1];
    rows += counts.rows;
  };
  while (running.load() > 0) take();
  for (std::thread& thread : threads) thread.join();
  take();
  EXPECT_EQ(counted, kThreads * kRuns);
  EXPECT_EQ(rows, kThreads * kRuns);
}
