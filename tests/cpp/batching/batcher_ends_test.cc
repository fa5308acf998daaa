// SPDX-License-Identifier: Apache-2.0
//
// How requests end without an answer: stopped with their run, dropped from the queue, refused at the door.
#include <vector>

#include "batching/batcher.h"
#include "batching/batcher_rig.h"
#include "support/check.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::Batcher;
using anya::BatchingOptions;
using anya::ErrorCode;
using anya::ModelStats;
using anya::Nanos;
using anya::QueuePolicyOptions;
using anya::Reason;
using anya::Request;
using anya::Status;

namespace {

using Options = BatcherRig::Options;
using Rows = std::vector<std::int64_t>;
constexpr Nanos kMillisecond = 1'000'000;

bool ends(Request& request) { return request.wait(anya::kNever) == Request::Wait::kEnded; }
bool cancel(BatcherRig& rig, Request& request) {
  return Batcher::conclude(request, Status::failure(ErrorCode::kCancelled, Reason::kCancelled), rig.clock.now());
}
std::uint64_t refused(const BatcherRig& rig, ErrorCode code) {
  return rig.stats().refused[static_cast<std::size_t>(code)];
}

}  // namespace

TEST(BatcherEnds, ARunThatNobodyWaitsForIsStoppedAndTheInstanceRecovers) {
  const Watchdog watchdog("an endless run");
  BatcherRig rig;
  rig.block();
  ValueRequest& first = rig.request(1, 1.0F);
  ValueRequest& second = rig.request(2, 2.0F);
  EXPECT_EQ(rig.enqueue(first) + rig.enqueue(second), 2u);
  rig.session().endless.store(true);
  rig.turnstile.open();
  until([&] { return rig.session().runs() == 2; });
  EXPECT_TRUE(cancel(rig, first));
  EXPECT_EQ(rig.stats().instances_busy, 1u);  // somebody still waits for the second
  EXPECT_TRUE(cancel(rig, second));
  until([&] { return rig.stats().instances_busy == 0; });
  EXPECT_EQ(rig.stats().terminated_runs, 1u);
  EXPECT_EQ(rig.stats().splits, 0u);  // a run that was told to stop has not failed
  rig.session().endless.store(false);
  ValueRequest& next = rig.request(1, 3.0F);
  EXPECT_EQ(rig.enqueue(next), 1u);
  EXPECT_TRUE(ends(next) && next.is_right());
  rig.batcher.close();
  EXPECT_EQ(rig.ended(ErrorCode::kCancelled), 2u);
  EXPECT_EQ(rig.ended(ErrorCode::kOk), 2u);
  EXPECT_EQ(rig.stats().in_flight, 0u);
}

// With the real clock: the caller itself runs, and nobody but the timer can end that.
TEST(BatcherEnds, ACallersOwnEndlessRunIsStoppedAtItsDeadline) {
  const Watchdog watchdog("an endless run on the caller's thread");
  const anya::SteadyClock clock;
  BatcherRig rig;  // its requests outlive the timer, which may still watch them
  anya::DeadlineTimer timer(clock, [&clock](Request& request) {
    Batcher::conclude(request, Status::failure(ErrorCode::kDeadlineExceeded, Reason::kExpired), clock.now());
  });
  for (int round = 0; round < 20; ++round) {
    ValueRequest& endless = rig.request(1, 1.0F);
    endless.deadline = clock.now() + kMillisecond;
    rig.session().endless.store(true);
    EXPECT_TRUE(rig.batcher.run_here(endless, &timer));
    EXPECT_TRUE(endless.ended());
    EXPECT_EQ(endless.status.code, ErrorCode::kDeadlineExceeded);
    rig.session().endless.store(false);
    ValueRequest& next = rig.request(1, 3.0F);
    next.deadline = clock.now() + 3'600'000 * kMillisecond;
    EXPECT_TRUE(rig.batcher.run_here(next, &timer));
    EXPECT_TRUE(next.is_right());
  }
  // On a slow machine a deadline may pass before its run has begun.
  EXPECT_GE(rig.stats().terminated_runs, 1u);
  EXPECT_LE(rig.stats().terminated_runs, 20u);
  EXPECT_EQ(rig.ended(ErrorCode::kDeadlineExceeded), 20u);
}

TEST(BatcherEnds, ARunThatWillNotStopIsReported) {
  const Watchdog watchdog("a stuck run");
  BatcherRig rig;
  ValueRequest& running = rig.block();  // it does not look at its switch
  rig.clock.advance(5000 * kMillisecond);
  EXPECT_EQ(rig.stats().stuck_runs, 0u);  // long, but somebody waits for it
  EXPECT_TRUE(cancel(rig, running));
  EXPECT_EQ(rig.stats().stuck_runs, 0u);
  rig.clock.advance(1000 * kMillisecond);
  EXPECT_EQ(rig.stats().stuck_runs, 0u);
  rig.clock.advance(1);
  EXPECT_EQ(rig.stats().stuck_runs, 1u);
  rig.turnstile.open();
  until([&] { return rig.stats().instances_busy == 0; });
  EXPECT_EQ(rig.stats().stuck_runs, 0u);
  EXPECT_EQ(rig.stats().terminated_runs, 1u);
}

TEST(BatcherEnds, ABatchOfTheDeadIsNotRun) {
  const Watchdog watchdog("a batch of the dead");
  BatcherRig rig(Options{.max_batch_size = 1});
  rig.block();
  ValueRequest& dead = rig.request(1, 1.0F);
  ValueRequest& alive = rig.request(1, 2.0F);
  EXPECT_EQ(rig.enqueue(dead) + rig.enqueue(alive), 2u);
  EXPECT_TRUE(cancel(rig, dead));
  rig.turnstile.open();
  EXPECT_TRUE(ends(alive) && alive.is_right());
  rig.batcher.close();
  EXPECT_EQ(rig.runs(), (Rows{1, 1}));
  EXPECT_EQ(rig.stats().terminated_runs, 0u);
}

TEST(BatcherEnds, ThePolicysTimeInTheQueueIsOver) {
  const Watchdog watchdog("a queue policy's timeout");
  BatchingOptions queue;
  queue.default_queue_policy.default_timeout_microseconds = 500;
  BatcherRig rig(Options{.queue = queue});
  rig.block();
  ValueRequest& late = rig.request(1, 1.0F);
  EXPECT_EQ(rig.enqueue(late), 1u);
  rig.clock.advance(300'000);
  ValueRequest& patient = rig.request(1, 2.0F);
  EXPECT_EQ(rig.enqueue(patient), 1u);
  rig.clock.advance(200'000);
  rig.turnstile.open();
  EXPECT_TRUE(ends(late) && ends(patient));
  EXPECT_EQ(late.status.code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(late.status.reason, Reason::kQueueTimeout);
  EXPECT_EQ(late.status.value, 500'000);
  EXPECT_EQ(late.status.limit, 500'000);
  EXPECT_TRUE(patient.is_right());
}

TEST(BatcherEnds, WhatGivesWayInTheQueueIsToldWhatWasPredicted) {
  const Watchdog watchdog("requests that give way");
  BatcherRig rig(Options{.max_batch_size = 1, .run_time = kMillisecond});
  rig.block();
  std::vector<ValueRequest*> requests;
  for (int i = 0; i < 3; ++i) requests.push_back(&rig.request(1, static_cast<float>(i)));
  // In time for its own run of 1 ms and a quarter, but not behind the two runs before it.
  requests[2]->deadline = rig.clock.now() + 3 * kMillisecond;
  requests[0]->deadline = requests[1]->deadline = rig.clock.now() + 5 * kMillisecond / 2;
  for (ValueRequest* request : requests) EXPECT_EQ(rig.enqueue(*request), 1u);
  rig.turnstile.open();
  for (ValueRequest* request : requests) EXPECT_TRUE(ends(*request));
  EXPECT_TRUE(requests[0]->is_right());
  // At 2 ms: half a millisecond left to the second, one to the third; both would be late, the last one runs anyway.
  EXPECT_EQ(requests[1]->status.reason, Reason::kCannotSuffice);
  EXPECT_EQ(requests[1]->status.code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(requests[1]->status.value, 5 * kMillisecond / 4);
  EXPECT_EQ(requests[1]->status.limit, kMillisecond / 2);
  EXPECT_EQ(rig.ended(ErrorCode::kDeadlineExceeded), 1u);
}

TEST(BatcherEnds, AFullLevelRefusesItsOwnAlone) {
  const Watchdog watchdog("a full level");
  BatchingOptions queue;
  queue.priority_levels = 2;
  QueuePolicyOptions narrow;
  narrow.max_queue_size = 1;
  queue.priority_queue_policy = {{2, narrow}};
  BatcherRig rig(Options{.max_queue_size = 3, .queue = queue});
  rig.block();
  std::vector<ValueRequest*> requests;
  std::vector<Request*> all;
  for (const int priority : {2, 2, 1, 2, 1, 1}) {
    requests.push_back(&rig.request(1, static_cast<float>(all.size())));
    requests.back()->priority = priority;
    all.push_back(requests.back());
  }
  EXPECT_EQ(rig.batcher.enqueue(all), 3u);
  const std::vector<Request*> in{requests[0], requests[2], requests[4]};
  EXPECT_TRUE(std::equal(in.begin(), in.end(), all.begin()));  // to the front, in their order
  for (const std::size_t i : {1u, 3u}) {
    EXPECT_EQ(requests[i]->status.code, ErrorCode::kOverloaded);
    EXPECT_EQ(requests[i]->status.reason, Reason::kLevelFull);
    EXPECT_EQ(requests[i]->status.limit, 1);
  }
  EXPECT_EQ(requests[5]->status.reason, Reason::kQueueFull);
  EXPECT_EQ(refused(rig, ErrorCode::kOverloaded), 3u);
  EXPECT_EQ(rig.stats().accepted, 4u);
  rig.turnstile.open();
  for (Request* request : in) EXPECT_TRUE(ends(*request) && request->status.ok());
  EXPECT_EQ(rig.enqueue(*requests[1]), 1u);  // its level has room again
  EXPECT_TRUE(ends(*requests[1]));
}

// Forty wait, each run takes 1 ms: after an interval of long waits the door takes only what is served within the
// target, and everybody again once the queue is empty.
TEST(BatcherEnds, AnOverloadedQueueShutsItsDoorUntilItIsEmpty) {
  const Watchdog watchdog("an overloaded queue");
  BatchingOptions queue;
  queue.queue_delay_target_microseconds = 5000;
  queue.queue_delay_interval_microseconds = 10'000;
  BatcherRig rig(Options{.max_batch_size = 1, .run_time = kMillisecond, .queue = queue});
  std::vector<ErrorCode> seen;
  std::vector<Status> refusals;
  ValueRequest& asking = rig.request(1, 9.0F);
  rig.on_run = [&](std::int64_t) {
    const Status status = rig.batcher.check(asking);
    seen.push_back(status.code);
    if (!status.ok()) refusals.push_back(status);
  };
  rig.block();
  std::vector<ValueRequest*> requests;
  for (int i = 0; i < 40; ++i) {
    requests.push_back(&rig.request(1, static_cast<float>(i)));
    EXPECT_EQ(rig.enqueue(*requests.back()), 1u);
  }
  rig.turnstile.open();
  for (ValueRequest* request : requests) EXPECT_TRUE(ends(*request) && request->is_right());
  rig.batcher.close();
  EXPECT_EQ(seen.size(), 41u);
  EXPECT_TRUE(seen[10] == ErrorCode::kOk);          // long waits, but not for an interval yet
  EXPECT_TRUE(seen[25] == ErrorCode::kOverloaded);  // 15 wait, 5 would be served in time
  EXPECT_TRUE(seen[30] == ErrorCode::kOverloaded);
  EXPECT_TRUE(seen[36] == ErrorCode::kOk);  // 4 wait
  EXPECT_TRUE(seen[40] == ErrorCode::kOk);
  const Status& first = refusals.front();
  EXPECT_EQ(first.reason, Reason::kQueueDelay);
  EXPECT_EQ(first.limit, 5 * kMillisecond);
  EXPECT_EQ(first.predicted, first.value * kMillisecond);
}
