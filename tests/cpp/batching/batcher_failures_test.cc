// SPDX-License-Identifier: Apache-2.0
//
// What the batcher does when runs fail for reasons of the machine: memory, a lost device, an open circuit breaker.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "batcher_rig.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::Batcher;
using anya::BreakerOptions;
using anya::CircuitState;
using anya::ErrorCode;
using anya::Faults;
using anya::Nanos;
using anya::OutputBuffer;
using anya::Reason;
using anya::Request;
using anya::Status;
using anya::TensorView;

namespace {

constexpr Nanos kSecond = 1'000'000'000;

// A batcher over a model that has memory for so many rows, and a device that can be lost.
struct Machine {
  std::int64_t fits = 64;
  bool lost = false;
  std::vector<std::int64_t> runs;
  FakeClock clock;
  CountingOwner owner;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  FakeSession session{value_schema(),
                      [this](std::span<const TensorView> inputs, auto, std::span<OutputBuffer> outputs) {
                        const std::int64_t rows = inputs[0].shape[0];
                        runs.push_back(rows);
                        if (lost) {
                          Status status = Status::with_text(ErrorCode::kExecutionError, "CUDA failure 700: gone");
                          status.reason = Reason::kDeviceFailed;
                          return status;
                        }
                        if (rows > fits) return Status::with_text(ErrorCode::kOutOfMemory, "no memory");
                        return value_model(inputs, outputs);
                      }};
  Batcher batcher;

  explicit Machine(std::optional<BreakerOptions> breaker = {}) : batcher(session, clock, setup_of(breaker)) {}
  ~Machine() { batcher.close(); }

  static Batcher::Setup setup_of(std::optional<BreakerOptions> breaker) {
    Batcher::Setup setup;
    setup.batching.max_batch_size = 64;
    setup.batching.max_in_place_microseconds = 1'000'000;
    setup.batchable = true;
    setup.predictable = {true};
    setup.name = "test";
    setup.run_times = {{1, 1000}, {64, 64'000}};
    setup.standing = std::make_shared<anya::Standing>(breaker);
    return setup;
  }
  std::vector<Request*> some(int count) {
    std::vector<Request*> all;
    for (int i = 0; i < count; ++i) {
      requests.push_back(std::make_unique<ValueRequest>(owner, 1, static_cast<float>(i)));
      requests.back()->accepted_at = clock.now();
      requests.back()->id = requests.size();
      all.push_back(requests.back().get());
    }
    return all;
  }
  // All of them in one go on this thread, as an event loop's turn; how many ended well.
  std::ptrdiff_t run(int count) {
    const std::vector<Request*> all = some(count);
    if (!batcher.run_here(std::span<Request* const>(all))) return -1;
    return std::ranges::count_if(all, [](const Request* request) { return request->status.ok(); });
  }
  anya::ModelStats stats() const {
    anya::ModelStats stats;
    batcher.read(stats);
    return stats;
  }
};

using Rows = std::vector<std::int64_t>;

}  // namespace

TEST(BatcherFailures, WhatDoesNotFitIntoMemoryRunsInHalvesAndTheNextBatchesAreSmaller) {
  const Watchdog watchdog("little memory");
  Machine machine;
  machine.fits = 5;
  EXPECT_EQ(machine.run(16), 16);
  EXPECT_EQ(machine.runs, (Rows{16, 8, 4, 4, 8, 4, 4}));
  EXPECT_EQ(machine.stats().row_limit, 4u);
  EXPECT_EQ(machine.run(16), -1);  // more than may run as one: to the queue with it
  machine.fits = 64;
  for (int i = 0; i < 64; ++i) EXPECT_EQ(machine.run(4), 4);
  EXPECT_EQ(machine.stats().row_limit, 8u);
}

TEST(BatcherFailures, TheQueueFormsBatchesThatFit) {
  const Watchdog watchdog("little memory and a queue");
  Machine machine;
  machine.fits = 5;
  EXPECT_EQ(machine.run(16), 16);
  machine.runs.clear();
  std::vector<Request*> all = machine.some(32);
  EXPECT_EQ(machine.batcher.enqueue(all), 32u);
  for (Request* request : all) EXPECT_TRUE(request->wait(anya::kNever) == Request::Wait::kEnded);
  machine.batcher.close();
  EXPECT_TRUE(std::ranges::all_of(machine.runs, [](std::int64_t rows) { return rows <= 4; }));
  EXPECT_TRUE(std::ranges::all_of(all, [](const Request* request) { return request->status.ok(); }));
}

TEST(BatcherFailures, OneRequestThatDoesNotFitFailsAlone) {
  Machine machine;
  machine.fits = 0;
  EXPECT_EQ(machine.run(1), 0);
  EXPECT_TRUE(machine.requests[0]->status.code == ErrorCode::kOutOfMemory);
  EXPECT_EQ(machine.runs, Rows{1});
}

TEST(BatcherFailures, ALostDeviceFailsTheWholeBatchOnceAndNothingRunsAfterwards) {
  const Watchdog watchdog("a lost device");
  Machine machine;
  machine.lost = true;
  EXPECT_EQ(machine.run(8), 0);
  EXPECT_EQ(machine.runs, Rows{8});  // no halves
  EXPECT_EQ(machine.stats().splits, 0u);
  EXPECT_EQ(machine.stats().ended[static_cast<std::size_t>(ErrorCode::kExecutionError)], 8u);
  EXPECT_TRUE(machine.batcher.standing().failed());
  EXPECT_TRUE(machine.batcher.standing().barred(machine.clock.now()).code == ErrorCode::kUnavailable);
  EXPECT_EQ(machine.run(1), 0);
  EXPECT_TRUE(machine.requests.back()->status.code == ErrorCode::kUnavailable);
  EXPECT_EQ(machine.runs, Rows{8});
  EXPECT_EQ(machine.stats().accepted, 9u);
  EXPECT_TRUE(machine.stats().failed);
}

TEST(BatcherFailures, TheBreakerOpensByFailedRunsAndClosesByGoodOnes) {
  const Watchdog watchdog("a breaker");
  BreakerOptions options;
  options.window = options.minimum_calls = 4;
  options.probes = 2;
  Machine machine(options);
  machine.fits = 0;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(machine.run(1), 0);
  EXPECT_TRUE(machine.batcher.standing().barred(machine.clock.now()).ok());
  EXPECT_EQ(machine.run(1), 0);
  const Status open = machine.batcher.standing().barred(machine.clock.now());
  EXPECT_TRUE(open.reason == Reason::kBreakerOpen);
  EXPECT_EQ(open.value, 5 * kSecond);
  machine.clock.advance(5 * kSecond);
  machine.fits = 64;
  EXPECT_TRUE(machine.batcher.standing().barred(machine.clock.now()).ok());
  EXPECT_EQ(machine.run(1), 1);
  EXPECT_EQ(machine.run(1), 1);
  EXPECT_TRUE(machine.stats().circuit->state == CircuitState::kClosed);
}

TEST(BatcherFailures, AnInjectedFaultBefallsTheSameRequestsInCompanyAndAlone) {
  const Watchdog watchdog("faults");
  Machine machine;
  auto faults = std::make_shared<Faults>();
  faults->rate = 0.3;
  faults->code = ErrorCode::kOutOfMemory;
  EXPECT_TRUE(machine.batcher.standing().inject(faults));
  EXPECT_FALSE(machine.batcher.standing().inject(faults));
  EXPECT_TRUE(machine.run(32) >= 0);
  std::vector<bool> together;
  for (const auto& request : machine.requests) together.push_back(request->status.ok());
  machine.requests.clear();
  EXPECT_EQ(machine.stats().accepted, 32u);
  for (int i = 0; i < 32; ++i) EXPECT_TRUE(machine.run(1) == (together[static_cast<std::size_t>(i)] ? 1 : 0));
  EXPECT_TRUE(machine.batcher.standing().inject(nullptr));
  EXPECT_EQ(machine.run(1), 1);
}
