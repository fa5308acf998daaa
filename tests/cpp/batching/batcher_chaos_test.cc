// SPDX-License-Identifier: Apache-2.0
//
// Rule 1 under fault: many threads submit, cancel, time out and fail at random while a batcher is closed at a random
// moment. Every accepted request has exactly one outcome, its memory comes back exactly once, and the counters agree
// with what each thread saw.
#include <array>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "anya/completion_queue.h"
#include "batching/batcher.h"
#include "batching/batcher_rig.h"
#include "support/check.h"
#include "support/value_request.h"
#include "support/watchdog.h"
#include "sync/mpmc_queue.h"

using namespace anya::test;
using anya::Batcher;
using anya::CompletionQueue;
using anya::ErrorCode;
using anya::kErrorCodeCount;
using anya::ModelStats;
using anya::MpmcQueue;
using anya::Nanos;
using anya::Reason;
using anya::Request;
using anya::Status;

namespace {

constexpr std::size_t kThreads = 4;
constexpr std::size_t kWindow = 24;  // requests of one thread in flight at once

// A request that knows whether it is back with its owner.
class ChaosRequest : public ValueRequest {
 public:
  explicit ChaosRequest(anya::RequestOwner& owner) : ValueRequest(owner, 1, 0.0F) {}
  std::atomic<int> lives_over{0};
};
class ChaosOwner final : public anya::RequestOwner {
 public:
  void reclaim(Request* request) noexcept override { static_cast<ChaosRequest*>(request)->lives_over.fetch_add(1); }
};

struct Tally {
  std::uint64_t accepted = 0;
  std::array<std::uint64_t, kErrorCodeCount> ended{};
  std::array<std::uint64_t, kErrorCodeCount> refused{};
  std::uint64_t wrong_answers = 0;
  std::uint64_t wrong_lives = 0;
};

std::size_t at(ErrorCode code) { return static_cast<std::size_t>(code); }

// Cancels what it is handed, while it waits or runs, from a thread of its own.
class Canceller {
 public:
  Canceller() : queue_(256), thread_([this] { work(); }) {}
  ~Canceller() {
    stop_.store(true);
    thread_.join();
  }
  void offer(Request& request) {
    request.retain();
    if (!queue_.try_push(&request)) request.release();
  }

 private:
  void work() {
    for (;;) {
      const bool last = stop_.load();
      Request* request = nullptr;
      while (queue_.try_pop(request)) {
        Batcher::conclude(*request, Status::failure(ErrorCode::kCancelled, Reason::kCancelled), 1);
        request->release();
      }
      if (last) return;
      std::this_thread::yield();
    }
  }
  MpmcQueue<Request*> queue_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

struct Traffic {
  Traffic(int instances, std::int64_t queue_size, std::int64_t delay)
      : session(value_schema(),
                [](auto inputs, auto, auto outputs) {
                  if (roll() % 8 == 0) std::this_thread::yield();
                  return value_model(inputs, outputs);
                }),
        batcher(session, clock, setup_of(instances, queue_size, delay)) {}

  static Batcher::Setup setup_of(int instances, std::int64_t queue_size, std::int64_t delay) {
    anya::BatchingOptions batching;
    batching.max_batch_size = 16;
    batching.max_queue_size = queue_size;
    batching.max_queue_delay_microseconds = delay;
    Batcher::Setup setup;
    setup.batching = batching;
    setup.batchable = true;
    setup.predictable = {true};
    setup.instances = instances;
    setup.name = "chaos";
    return setup;
  }
  static std::uint64_t roll() {
    thread_local std::minstd_rand random(7);
    return random();
  }

  anya::SteadyClock clock;
  FakeSession session;
  Canceller canceller;
  Batcher batcher;
};

// One thread's share: windows of requests, each followed to its end and used again.
void submit(Traffic& traffic, std::size_t total, std::uint64_t seed, std::atomic<std::size_t>& submitted,
            Tally& tally) {
  std::mt19937_64 random(seed);
  const auto one_in = [&random](unsigned n) { return random() % n == 0; };
  ChaosOwner owner;
  CompletionQueue completions;
  std::vector<std::unique_ptr<ChaosRequest>> requests;
  for (std::size_t i = 0; i < kWindow; ++i) requests.push_back(std::make_unique<ChaosRequest>(owner));
  for (std::size_t done = 0; done < total; done += kWindow) {
    std::vector<Request*> accepted;
    for (const auto& request : requests) {
      request->reset();
      request->lives_over.store(0);
      request->fill(1 + static_cast<std::int64_t>(random() % 3), static_cast<float>(random() % 1000),
                    one_in(4) ? ValueRequest::Output::kMadeByRun : ValueRequest::Output::kGiven);
      request->signature = one_in(6) ? 7 : 0;
      request->priority = 1 + static_cast<int>(random() % 2);
      if (one_in(50)) request->poison();
      request->accepted_at = traffic.clock.now();
      if (one_in(5)) {
        request->timeout = static_cast<Nanos>(random() % 300'000);
        request->deadline = request->accepted_at + request->timeout;
      }
      const bool notified = one_in(3) && request->notify_through(completions);
      const bool here = one_in(8) && traffic.batcher.run_here(*request);
      Request* only = request.get();
      if (here || traffic.batcher.enqueue({&only, 1}) == 1) {
        accepted.push_back(only);
        ++tally.accepted;
        if (!here && one_in(6)) traffic.canceller.offer(*request);
        if (!here && one_in(20)) {
          Batcher::conclude(*request, Status::failure(ErrorCode::kCancelled, Reason::kCancelled), traffic.clock.now());
        }
      } else {
        tally.refused[at(request->status.code)] += 1;
        if (notified) request->release();  // the completion queue's, which it will never get
        request->release();
      }
      submitted.fetch_add(1);
    }
    for (Request* request : accepted) {
      // A waiting caller leaves at its deadline, whether the request is queued or running.
      if (request->wait(request->deadline) == Request::Wait::kTimedOut) {
        Batcher::conclude(*request, Status::failure(ErrorCode::kDeadlineExceeded, Reason::kExpired),
                          traffic.clock.now());
      }
      if (request->wait(anya::kNever) != Request::Wait::kEnded) ++tally.wrong_lives;
      ++tally.ended[at(request->status.code)];
      if (request->status.ok() && !static_cast<ChaosRequest*>(request)->is_right()) ++tally.wrong_answers;
      request->release();
    }
    for (const auto& request : requests) {
      until([&] {
        for (Request* at = completions.take_all(); at != nullptr;) {
          Request* const next = at->next_completed;
          at->release();
          at = next;
        }
        return request->lives_over.load() > 0;
      });
    }
    for (const auto& request : requests) tally.wrong_lives += request->lives_over.load() == 1 ? 0 : 1;
  }
}

void chaos(std::uint64_t seed, std::size_t total, int instances, std::int64_t queue_size, std::int64_t delay) {
  Traffic traffic(instances, queue_size, delay);
  std::atomic<std::size_t> submitted{0};
  std::array<Tally, kThreads> tallies;
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] { submit(traffic, total / kThreads, seed * 100 + t, submitted, tallies[t]); });
  }
  const std::size_t close_at = total / 2 + std::mt19937_64(seed)() % (total / 2);
  std::uint64_t impossible = 0;
  while (submitted.load() < close_at) {
    ModelStats stats;
    traffic.batcher.read(stats);
    const std::uint64_t ended = std::accumulate(stats.ended.begin(), stats.ended.end(), std::uint64_t{0});
    if (ended > stats.accepted || stats.in_flight != stats.accepted - ended) ++impossible;
  }
  traffic.batcher.close();
  ModelStats closed;
  traffic.batcher.read(closed);
  for (std::thread& thread : threads) thread.join();

  Tally all;
  for (const Tally& tally : tallies) {
    all.accepted += tally.accepted;
    all.wrong_answers += tally.wrong_answers;
    all.wrong_lives += tally.wrong_lives;
    for (std::size_t code = 0; code < kErrorCodeCount; ++code) {
      all.ended[code] += tally.ended[code];
      all.refused[code] += tally.refused[code];
    }
  }
  ModelStats stats;
  traffic.batcher.read(stats);
  EXPECT_EQ(impossible, 0u);
  EXPECT_EQ(all.wrong_answers, 0u);
  EXPECT_EQ(all.wrong_lives, 0u);
  EXPECT_EQ(closed.in_flight, 0u);
  EXPECT_EQ(closed.accepted, stats.accepted);
  EXPECT_EQ(stats.accepted, all.accepted);
  EXPECT_EQ(std::accumulate(stats.ended.begin(), stats.ended.end(), std::uint64_t{0}), stats.accepted);
  for (std::size_t code = 0; code < kErrorCodeCount; ++code) EXPECT_EQ(stats.ended[code], all.ended[code]);
  for (std::size_t code = 0; code < kErrorCodeCount; ++code) EXPECT_EQ(stats.refused[code], all.refused[code]);
  const std::uint64_t refused_by_kind =
      all.refused[at(ErrorCode::kOverloaded)] + all.refused[at(ErrorCode::kUnavailable)];
  EXPECT_EQ(refused_by_kind + all.accepted, total);
  EXPECT_EQ(
      std::accumulate(stats.request_duration.counts.begin(), stats.request_duration.counts.end(), std::uint64_t{0}),
      stats.accepted);
  EXPECT_EQ(stats.queue_depth, 0u);
  EXPECT_EQ(stats.instances_busy, 0u);
  // It was chaos: every kind of end took place.
  for (const ErrorCode code :
       {ErrorCode::kOk, ErrorCode::kCancelled, ErrorCode::kExecutionError, ErrorCode::kDeadlineExceeded}) {
    EXPECT_GT(stats.ended[at(code)], 0u);
  }
  EXPECT_GT(all.refused[at(ErrorCode::kUnavailable)], 0u);
  EXPECT_GT(stats.splits, 0u);
}

}  // namespace

TEST(BatcherChaos, OneInstance) {
  const Watchdog watchdog("chaos on one instance");
  chaos(1, 33'600, 1, 1024, 0);
}

TEST(BatcherChaos, ThreeInstancesAndASmallQueue) {
  const Watchdog watchdog("chaos on three instances");
  chaos(2, 33'600, 3, 8, 0);
}

TEST(BatcherChaos, TwoInstancesThatLinger) {
  const Watchdog watchdog("chaos with a delay");
  chaos(3, 33'600, 2, 64, 100);
}

// Seen from inside a run, whoever is in it is in flight: nobody runs, let alone ends, before it counts as accepted. The
// worker is held in a run whose request has ended already, so nothing else is in flight, and let go just as many come
// in.
TEST(BatcherChaos, WhatRunsWasCountedBefore) {
  const Watchdog watchdog("counters seen from inside a run");
  constexpr std::size_t kAtOnce = 400;
  BatcherRig rig(BatcherRig::Options{.max_batch_size = 2, .max_queue_size = kAtOnce});
  std::atomic<bool> hold{false};
  std::atomic<bool> held{false};
  std::atomic<bool> go{false};
  std::atomic<int> impossible{0};
  rig.on_run = [&](std::int64_t rows) {
    if (hold.exchange(false)) {
      held.store(true);
      while (!go.exchange(false)) {
      }
      return;
    }
    const std::uint64_t in_flight = rig.stats().in_flight;
    if (in_flight < static_cast<std::uint64_t>(rows) || in_flight > kAtOnce) impossible.fetch_add(1);
  };
  for (int round = 0; round < 50; ++round) {
    std::vector<Request*> all;
    for (std::size_t i = 0; i < kAtOnce; ++i) all.push_back(&rig.request(1, static_cast<float>(i)));
    ValueRequest& holder = rig.request(1, 0.0F);
    hold.store(true);
    EXPECT_EQ(rig.enqueue(holder), 1u);
    until([&held] { return held.exchange(false); });
    EXPECT_TRUE(Batcher::conclude(holder, Status::failure(ErrorCode::kCancelled, Reason::kCancelled), 1));
    go.store(true);
    EXPECT_EQ(rig.batcher.enqueue(all), kAtOnce);
    for (Request* request : all) EXPECT_EQ(request->wait(anya::kNever), Request::Wait::kEnded);
  }
  EXPECT_EQ(impossible.load(), 0);
}
