// SPDX-License-Identifier: Apache-2.0
//
// The load driver over an engine with a fake session: every request it asked is in its report once, and the model
// counted the same.
#include "anya/load_driver.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "anya/engine.h"
#include "driver/log_histogram.h"
#include "support/check.h"
#include "support/fake_session.h"
#include "support/wire_writer.h"

using namespace anya::test;
using anya::Arrivals;
using anya::drive;
using anya::DType;
using anya::Engine;
using anya::Error;
using anya::ErrorCode;
using anya::LoadControl;
using anya::LoadMode;
using anya::LoadPlan;
using anya::LoadReport;
using anya::Model;
using anya::ModelOptions;
using anya::ModelSchema;
using anya::ModelStats;
using anya::Nanos;
using anya::OutputBuffer;
using anya::Shape;
using anya::Status;
using anya::TensorView;

namespace {

constexpr Nanos kMillisecond = 1'000'000;
using Answer = std::function<Status(std::span<const TensorView>, std::span<OutputBuffer>)>;

// y = x, by way of the input's own bytes.
Status same(std::span<const TensorView> inputs, std::span<OutputBuffer> outputs) {
  return give_output(outputs[0], inputs[0].dtype, inputs[0].shape, inputs[0].data);
}
Answer after(std::chrono::microseconds time) {
  return [time](auto inputs, auto outputs) {
    std::this_thread::sleep_for(time);
    return same(inputs, outputs);
  };
}

// An engine with one model; the model is the real one, only its session is fake.
struct Served {
  std::unique_ptr<Engine> engine;
  std::shared_ptr<Model> model;
  std::vector<float> data = std::vector<float>(64, 1.0F);

  explicit Served(const Answer& answer, const ModelOptions& options = {}, Shape shape = {-1, 2}) {
    const ModelSchema schema{{spec("x", DType::kFloat32, shape)}, {spec("y", DType::kFloat32, shape)}};
    anya::EngineDependencies dependencies;
    dependencies.clock = std::make_shared<anya::SteadyClock>();
    dependencies.open_session = [=](auto, auto, const anya::SessionOptions&) {
      return std::make_unique<FakeSession>(
          schema, [answer](auto inputs, auto, auto outputs) { return answer(inputs, outputs); });
    };
    engine = std::make_unique<Engine>(std::move(dependencies));
    const Wire bytes = wire::model(wire::add_graph());
    model = engine->load("fake", "1", {{}, bytes.span()}, options);
  }
  [[nodiscard]] TensorView rows(std::int64_t count) const {
    return {DType::kFloat32, Shape{count, 2}, data.data(), static_cast<std::size_t>(count) * 8};
  }
  [[nodiscard]] LoadPlan plan(LoadMode mode, int concurrency, Nanos duration) const {
    LoadPlan plan;
    plan.questions = {{rows(1)}};
    plan.mode = mode;
    plan.concurrency = concurrency;
    plan.duration = duration;
    return plan;
  }
};

std::uint64_t total(const std::array<std::uint64_t, anya::kErrorCodeCount>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}
std::size_t at(ErrorCode code) { return static_cast<std::size_t>(code); }

// What the driver reports (without warm-up) is what the model counted.
void agree(const LoadReport& report, const ModelStats& stats) {
  EXPECT_EQ(report.asked, report.ok + total(report.errors));
  EXPECT_EQ(report.asked, stats.accepted + total(stats.refused));
  EXPECT_EQ(report.ok, stats.ended[at(ErrorCode::kOk)]);
  EXPECT_EQ(stats.accepted, total(stats.ended));
  EXPECT_EQ(stats.in_flight, 0u);
  for (std::size_t i = 1; i < stats.ended.size(); ++i) EXPECT_EQ(report.errors[i], stats.ended[i] + stats.refused[i]);
  EXPECT_EQ(report.malformed, 0u);
  EXPECT_EQ(report.latency.count, report.ok);
}

// As long as it takes: what is expected of so many requests is not left to what a busy machine does in a given time.
LoadReport drive_until(std::uint64_t ended, Model& model, LoadPlan plan) {
  plan.duration = 3'600'000 * kMillisecond;
  LoadControl control;
  const std::jthread stopper([&] {
    while (control.ended.load() < ended) std::this_thread::yield();
    control.stop.store(true);
  });
  return drive(model, plan, &control);
}

}  // namespace

TEST(LoadDriver, ClosedLoopKeepsExactlyItsConcurrencyInFlightAndLosesNothing) {
  const Served served(after(std::chrono::microseconds(200)));
  const LoadReport report = drive_until(1000, *served.model, served.plan(LoadMode::kClosed, 16, 1));
  EXPECT_GE(report.ok, 1000u);
  EXPECT_EQ(report.peak_in_flight, 16u);
  EXPECT_EQ(report.rows, report.ok);
  EXPECT_GT(report.requests_per_second, 0.0);
  EXPECT_EQ(report.first_error, "");
  agree(report, served.model->stats());
}

TEST(LoadDriver, RequestsInFlightTogetherShareRuns) {
  ModelOptions options;
  options.instances = 1;
  options.batching.max_batch_size = 8;
  const Served served(after(std::chrono::microseconds(500)), options);
  const LoadReport report = drive_until(2000, *served.model, served.plan(LoadMode::kClosed, 32, 1));
  const ModelStats stats = served.model->stats();
  // The mean over runs, made of each request's share of its run, is the model's own count.
  const double counted = static_cast<double>(stats.rows) / static_cast<double>(stats.batches);
  EXPECT_LT(std::abs(report.mean_run_rows - counted), 1e-6 * counted);
  EXPECT_GT(report.mean_run_rows, 2.0);
  EXPECT_EQ(report.batch_rows.max, 8.0);
  agree(report, stats);
}

TEST(LoadDriver, BlockingCallersAreCountedLikeTheClosedLoop) {
  const Served served(after(std::chrono::microseconds(100)));
  const LoadReport report = drive_until(1000, *served.model, served.plan(LoadMode::kBlocking, 8, 1));
  EXPECT_EQ(report.peak_in_flight, 8u);
  agree(report, served.model->stats());
}

TEST(LoadDriver, OneBlockingCallerRunsItsOwnRequestsAlone) {
  const Served served(same);
  const LoadReport report = drive(*served.model, served.plan(LoadMode::kBlocking, 1, 30 * kMillisecond));
  const ModelStats stats = served.model->stats();
  EXPECT_FALSE(report.stopped);
  EXPECT_EQ(stats.in_place, stats.accepted);
  EXPECT_EQ(report.batch_rows.max, 1.0);
  agree(report, stats);
}

TEST(LoadDriver, OpenLoopAsksWhatItsScheduleHoldsHoweverSlowTheModelIs) {
  for (const Arrivals arrivals : {Arrivals::kPoisson, Arrivals::kConstant}) {
    // One instance of 5 ms and no batching: 200 a second at most, asked 1000 a second.
    ModelOptions options;
    options.instances = 1;
    options.batching.max_batch_size = 1;
    options.batching.max_queue_size = 10'000;
    const Served served(after(std::chrono::milliseconds(5)), options);
    LoadPlan plan = served.plan(LoadMode::kOpen, 0, 200 * kMillisecond);
    plan.rate = 1000;
    plan.arrivals = arrivals;
    const LoadReport report = drive(*served.model, plan);
    const auto scheduled = static_cast<double>(report.asked + report.unsent);
    // Constant: due at 1, 2, ... 199 ms. Poisson: 200 expected, five standard deviations around it.
    if (arrivals == Arrivals::kConstant) EXPECT_EQ(scheduled, 199.0);
    EXPECT_LT(std::abs(scheduled - 200), 5 * std::sqrt(200.0));
    EXPECT_EQ(report.lateness.count, report.asked);
    // No coordinated omission: the last ones wait for all before them, about 1 s of runs less 0.2 s of asking.
    if (report.unsent == 0) EXPECT_GT(report.latency.max, 0.5);
    EXPECT_GE(report.latency.max, report.queue.max);
    agree(report, served.model->stats());
  }
}

TEST(LoadDriver, OpenLoopScheduleFollowsItsSeed) {
  const Served served(same);
  std::vector<std::uint64_t> scheduled;
  for (const std::uint64_t seed : {1u, 1u, 2u, 3u, 4u, 5u}) {
    LoadPlan plan = served.plan(LoadMode::kOpen, 0, 50 * kMillisecond);
    plan.rate = 2000;
    plan.seed = seed;
    const LoadReport report = drive(*served.model, plan);
    scheduled.push_back(report.asked + report.unsent);
  }
  EXPECT_EQ(scheduled[0], scheduled[1]);
  bool differs = false;
  for (const std::uint64_t count : scheduled) differs |= count != scheduled[0];
  EXPECT_TRUE(differs);
}

TEST(LoadDriver, FailedRunsAreErrorsByCodeWithTheFirstInWords) {
  auto calls = std::make_shared<std::atomic<int>>(0);
  auto loaded = std::make_shared<std::atomic<bool>>(false);
  ModelOptions options;
  options.batching.max_batch_size = 1;
  const Served served(
      [=](auto inputs, auto outputs) {
        if (loaded->load() && calls->fetch_add(1) % 3 == 2)
          return Status::with_text(ErrorCode::kExecutionError, "third");
        return same(inputs, outputs);
      },
      options);
  loaded->store(true);
  for (const LoadMode mode : {LoadMode::kClosed, LoadMode::kBlocking, LoadMode::kOpen}) {
    const ModelStats before = served.model->stats();
    LoadPlan plan = served.plan(mode, 4, 40 * kMillisecond);
    plan.rate = 2000;
    const LoadReport report = drive(*served.model, plan);
    const ModelStats after_it = served.model->stats();
    const std::uint64_t failed =
        after_it.ended[at(ErrorCode::kExecutionError)] - before.ended[at(ErrorCode::kExecutionError)];
    EXPECT_GT(failed, 0u);
    EXPECT_EQ(report.errors[at(ErrorCode::kExecutionError)], failed);
    EXPECT_EQ(report.ok, after_it.ended[at(ErrorCode::kOk)] - before.ended[at(ErrorCode::kOk)]);
    EXPECT_TRUE(report.first_error.find("third") != std::string::npos);
  }
}

TEST(LoadDriver, RefusalsAtTheDoorAreErrorsToo) {
  ModelOptions options;
  options.instances = 1;
  options.batching.max_queue_size = 4;
  options.batching.max_batch_size = 2;
  const Served served(after(std::chrono::milliseconds(2)), options);
  const LoadReport report = drive(*served.model, served.plan(LoadMode::kClosed, 32, 60 * kMillisecond));
  EXPECT_GT(report.errors[at(ErrorCode::kOverloaded)], 0u);
  EXPECT_GT(report.ok, 0u);
  agree(report, served.model->stats());
}

TEST(LoadDriver, AModelWithoutABatchAxisIsDrivenToo) {
  const Served served(same, {}, Shape{2, 2});
  LoadPlan plan = served.plan(LoadMode::kClosed, 8, 30 * kMillisecond);
  plan.questions = {{served.rows(2)}};
  const LoadReport report = drive(*served.model, plan);
  EXPECT_GT(report.ok, 0u);
  EXPECT_EQ(report.batch_rows.max, 1.0);
  EXPECT_FALSE(served.model->info().batchable);
  agree(report, served.model->stats());
}

TEST(LoadDriver, QuestionsAreAskedInTurnAndTheirRowsCounted) {
  const Served served(same);
  LoadPlan plan = served.plan(LoadMode::kClosed, 3, 30 * kMillisecond);
  plan.questions = {{served.rows(1)}, {served.rows(3)}};
  const LoadReport report = drive(*served.model, plan);
  const std::uint64_t odd = report.asked % 2;
  EXPECT_EQ(report.rows, (report.asked - odd) * 2 + odd);
  agree(report, served.model->stats());
}

TEST(LoadDriver, TheWarmUpIsAskedButNotReported) {
  const Served served(after(std::chrono::microseconds(200)));
  for (const LoadMode mode : {LoadMode::kClosed, LoadMode::kBlocking, LoadMode::kOpen}) {
    const std::uint64_t before = served.model->stats().accepted;
    LoadPlan plan = served.plan(mode, 2, 20 * kMillisecond);
    plan.warm_up = 40 * kMillisecond;
    plan.rate = 1000;
    const LoadReport report = drive(*served.model, plan);
    EXPECT_GT(served.model->stats().accepted - before, report.asked);
  }
}

TEST(LoadDriver, AStopEndsItEarlyAndDrains) {
  const Served served(after(std::chrono::microseconds(200)));
  for (const LoadMode mode : {LoadMode::kClosed, LoadMode::kBlocking, LoadMode::kOpen}) {
    LoadPlan plan = served.plan(mode, 4, 1);
    plan.rate = 1000;
    const LoadReport report = drive_until(20, *served.model, plan);
    EXPECT_TRUE(report.stopped);
    EXPECT_GE(report.ok, 20u);
    EXPECT_EQ(served.model->stats().in_flight, 0u);
  }
}

TEST(LoadDriver, AModelThatClosesUnderItEndsItWithEveryRequestAnswered) {
  for (const LoadMode mode : {LoadMode::kClosed, LoadMode::kBlocking, LoadMode::kOpen}) {
    const Served served(after(std::chrono::microseconds(200)));
    LoadPlan plan = served.plan(mode, 4, 3'600'000 * kMillisecond);
    plan.rate = 1000;
    LoadControl control;
    const std::jthread closer([&] {
      while (control.ended.load() < 20) std::this_thread::yield();
      served.engine->unload(served.model);
    });
    const LoadReport report = drive(*served.model, plan, &control);
    EXPECT_TRUE(report.stopped);
    EXPECT_GE(report.errors[at(ErrorCode::kUnavailable)], 1u);
    agree(report, served.model->stats());
  }
}

TEST(LoadDriver, APlanThatCannotBeIsRefusedBeforeAnythingIsAsked) {
  const Served served(same);
  const LoadPlan good = served.plan(LoadMode::kClosed, 1, kMillisecond);
  const auto refused = [&](ErrorCode code, auto change) {
    LoadPlan plan = good;
    change(plan);
    EXPECT_ERROR(code, drive(*served.model, plan));
  };
  refused(ErrorCode::kConfigError, [](LoadPlan& plan) { plan.concurrency = 0; });
  refused(ErrorCode::kConfigError, [](LoadPlan& plan) { plan.concurrency = anya::kMaxInFlight + 1; });
  refused(ErrorCode::kConfigError, [](LoadPlan& plan) {
    plan.mode = LoadMode::kBlocking;
    plan.concurrency = anya::kMaxCallers + 1;
  });
  refused(ErrorCode::kConfigError, [](LoadPlan& plan) { plan.questions.clear(); });
  refused(ErrorCode::kConfigError, [](LoadPlan& plan) { plan.duration = 0; });
  refused(ErrorCode::kConfigError, [](LoadPlan& plan) { plan.warm_up = -1; });
  for (const double rate : {0.0, -1.0, 2e6, std::nan("")}) {
    refused(ErrorCode::kConfigError, [rate](LoadPlan& plan) {
      plan.mode = LoadMode::kOpen;
      plan.rate = rate;
    });
  }
  refused(ErrorCode::kInvalidInput, [](LoadPlan& plan) { plan.questions = {{}}; });
  refused(ErrorCode::kInvalidInput, [](LoadPlan& plan) { plan.questions[0][0].dtype = DType::kInt64; });
  EXPECT_EQ(served.model->stats().accepted, 0u);
}

TEST(LogHistogram, PercentilesAreWithinTwoPercentOfTheExactOnes) {
  std::mt19937_64 random(7);
  for (const double spread : {0.1, 1.0, 1.5}) {
    anya::LogHistogram histogram;
    anya::LogHistogram halves[2];
    std::vector<std::int64_t> values;
    for (int i = 0; i < 20'001; ++i) {
      const double u = (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53;
      values.push_back(static_cast<std::int64_t>(1e6 * std::exp(spread * std::log(u / (1 - u)))));
      histogram.add(values.back());
      halves[i % 2].add(values.back());
    }
    halves[0].merge(halves[1]);
    std::sort(values.begin(), values.end());
    for (const double share : {0.001, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0}) {
      const auto rank = static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size())));
      const auto exact = static_cast<double>(values[rank - 1]);
      EXPECT_LE(std::abs(histogram.percentile(share) - exact), 0.02 * exact);
      EXPECT_EQ(histogram.percentile(share), halves[0].percentile(share));
    }
    EXPECT_EQ(histogram.spread(1).min, static_cast<double>(values.front()));
    EXPECT_EQ(histogram.spread(1).max, static_cast<double>(values.back()));
  }
}

TEST(LogHistogram, EdgesAreExactEmptyIsZeroAndTheLargestValueFits) {
  anya::LogHistogram histogram;
  EXPECT_EQ(histogram.percentile(0.5), 0.0);
  EXPECT_EQ(histogram.spread(1).count, 0u);
  for (std::int64_t value = 0; value < 64; ++value) {
    anya::LogHistogram one;
    one.add(value);
    one.add(1000);
    EXPECT_EQ(one.percentile(0.5), static_cast<double>(value));
  }
  histogram.add(INT64_MAX);
  histogram.add(-5);
  EXPECT_EQ(histogram.spread(1).max, static_cast<double>(INT64_MAX));
  EXPECT_EQ(histogram.spread(1).min, 0.0);
}
