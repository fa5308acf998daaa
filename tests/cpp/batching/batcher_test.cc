// SPDX-License-Identifier: Apache-2.0
//
// The batcher over a fake model: who runs where, what shares a run, who fails, what closing does.
#include "batching/batcher.h"

#include <thread>
#include <vector>

#include <unistd.h>

#include "anya/completion_queue.h"
#include "batching/batcher_rig.h"
#include "support/check.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::Batcher;
using anya::CompletionQueue;
using anya::ErrorCode;
using anya::ModelStats;
using anya::Nanos;
using anya::Reason;
using anya::Request;
using anya::Status;

namespace {

using Options = BatcherRig::Options;
using Rows = std::vector<std::int64_t>;
using Output = ValueRequest::Output;

bool ends(Request& request) { return request.wait(anya::kNever) == Request::Wait::kEnded; }
Status cancelled() { return Status::failure(ErrorCode::kCancelled, Reason::kCancelled); }

}  // namespace

TEST(Batcher, AnIdleInstanceIsTheCallersOwn) {
  const Watchdog watchdog("a run on the caller's thread");
  BatcherRig rig;
  rig.on_run = [&rig](std::int64_t) { EXPECT_EQ(rig.stats().in_flight, 1u); };  // it counts as accepted before it runs
  ValueRequest& request = rig.request(2, 3.0F);
  EXPECT_TRUE(rig.batcher.run_here(request));
  EXPECT_TRUE(request.ended());
  EXPECT_TRUE(request.is_right());
  EXPECT_TRUE(rig.last_runner() == std::this_thread::get_id());
  EXPECT_EQ(request.batch_rows, 2);
  const ModelStats stats = rig.stats();
  EXPECT_EQ(stats.accepted, 1u);
  EXPECT_EQ(rig.ended(ErrorCode::kOk), 1u);
  EXPECT_EQ(stats.in_place, 1u);
  EXPECT_EQ(stats.batches, 1u);
  EXPECT_EQ(stats.rows, 2u);
  EXPECT_EQ(stats.instances_busy, 0u);
}

TEST(Batcher, ABusyModelSendsTheCallerToTheQueue) {
  const Watchdog watchdog("a caller and a busy model");
  BatcherRig rig;
  rig.block();
  ValueRequest& request = rig.request(1, 3.0F);
  EXPECT_EQ(rig.stats().instances_busy, 1u);
  EXPECT_FALSE(rig.batcher.run_here(request));
  EXPECT_FALSE(request.is_claimed());
  EXPECT_EQ(rig.stats().accepted, 1u);
  EXPECT_EQ(rig.enqueue(request), 1u);
  EXPECT_EQ(rig.stats().queue_depth, 1u);
  EXPECT_EQ(rig.stats().in_flight, 2u);
  rig.turnstile.open();
  EXPECT_TRUE(ends(request));
  EXPECT_TRUE(request.is_right());
  EXPECT_TRUE(rig.last_runner() != std::this_thread::get_id());
  EXPECT_EQ(rig.stats().in_place, 0u);
}

TEST(Batcher, WhoeverWaitsComesBeforeACaller) {
  const Watchdog watchdog("a caller behind a queue");
  BatcherRig rig(Options{.instances = 2});
  rig.block();
  ValueRequest& second = rig.request(1, 1.0F);
  EXPECT_EQ(rig.enqueue(second), 1u);
  rig.turnstile.wait_for(2);  // both instances are busy
  ValueRequest& third = rig.request(1, 2.0F);
  EXPECT_EQ(rig.enqueue(third), 1u);
  EXPECT_FALSE(rig.batcher.run_here(rig.request(1, 3.0F)));
  rig.turnstile.open();
  EXPECT_TRUE(ends(second) && ends(third));
}

TEST(Batcher, ACallerHandsItsInstanceOn) {
  const Watchdog watchdog("a request behind a caller's run", std::chrono::seconds(20));
  for (int round = 0; round < 20; ++round) {
    BatcherRig rig;
    ValueRequest& own = rig.request(1, 1.0F);
    ValueRequest& other = rig.request(1, 2.0F);
    rig.turnstile.shut();
    std::thread caller([&] { EXPECT_TRUE(rig.batcher.run_here(own)); });
    rig.turnstile.wait_for(1);
    EXPECT_EQ(rig.enqueue(other), 1u);
    rig.turnstile.open();
    caller.join();
    EXPECT_TRUE(ends(other) && other.is_right());
    EXPECT_TRUE(own.is_right());
  }
}

TEST(Batcher, ABatchGrowsWhileTheModelIsBusy) {
  const Watchdog watchdog("a growing batch");
  for (const Output output : {Output::kGiven, Output::kMadeByRun}) {
    BatcherRig rig(Options{.max_batch_size = 4, .predictable = output == Output::kGiven});
    rig.block();
    std::vector<ValueRequest*> requests;
    for (int i = 0; i < 5; ++i) {
      requests.push_back(&rig.request(1, static_cast<float>(100 * i), output));
      EXPECT_EQ(rig.enqueue(*requests.back()), 1u);
    }
    rig.turnstile.open();
    for (ValueRequest* request : requests) EXPECT_TRUE(ends(*request) && request->is_right());
    EXPECT_EQ(rig.runs(), (Rows{1, 4, 1}));
    EXPECT_EQ(requests[0]->batch_rows, 4);
    EXPECT_EQ(requests[4]->batch_rows, 1);
    EXPECT_EQ(rig.stats().batches, 3u);
    EXPECT_EQ(rig.stats().rows, 6u);
  }
}

TEST(Batcher, WhatCannotShareRunsOneByOne) {
  const Watchdog watchdog("a model that runs alone");
  BatcherRig rig(Options{.batchable = false});
  rig.block();
  ValueRequest& first = rig.request(1, 1.0F);
  ValueRequest& second = rig.request(3, 2.0F);
  Request* both[] = {&first, &second};
  EXPECT_EQ(rig.batcher.enqueue(both), 2u);
  rig.turnstile.open();
  EXPECT_TRUE(ends(first) && first.is_right());
  EXPECT_TRUE(ends(second) && second.is_right());
  EXPECT_EQ(rig.runs(), (Rows{1, 1, 3}));
}

TEST(Batcher, PoisonFailsAlone) {
  const Watchdog watchdog("a poisoned batch");
  for (const Output output : {Output::kGiven, Output::kMadeByRun}) {
    for (std::size_t culprit = 0; culprit < 8; ++culprit) {
      BatcherRig rig(Options{.predictable = output == Output::kGiven});
      rig.block();
      std::vector<ValueRequest*> requests;
      for (std::size_t i = 0; i < 8; ++i) {
        requests.push_back(&rig.request(1, static_cast<float>(10 * i), output));
        if (i == culprit) requests.back()->poison();
        EXPECT_EQ(rig.enqueue(*requests.back()), 1u);
      }
      rig.turnstile.open();
      for (std::size_t i = 0; i < 8; ++i) {
        EXPECT_TRUE(ends(*requests[i]));
        if (i == culprit) {
          EXPECT_EQ(requests[i]->status.code, ErrorCode::kExecutionError);
          EXPECT_TRUE(requests[i]->status.text != nullptr && *requests[i]->status.text == "poison");
        } else {
          EXPECT_TRUE(requests[i]->is_right());
        }
      }
      EXPECT_EQ(rig.stats().splits, 3u);   // 8, then 4, then 2
      EXPECT_EQ(rig.stats().batches, 8u);  // the blocker; 8; 4 and 4; 2 and 2; 1 and 1
      EXPECT_EQ(rig.ended(ErrorCode::kExecutionError), 1u);
      EXPECT_EQ(rig.ended(ErrorCode::kOk), 8u);
    }
  }
}

TEST(Batcher, ALoneFailureIsNotTriedAgain) {
  const Watchdog watchdog("a lone failure");
  BatcherRig rig;
  ValueRequest& request = rig.request(1, 0.0F);
  request.poison();
  EXPECT_TRUE(rig.batcher.run_here(request));
  EXPECT_EQ(request.status.code, ErrorCode::kExecutionError);
  EXPECT_EQ(rig.stats().splits, 0u);
  EXPECT_EQ(rig.runs(), Rows{1});
  ValueRequest& next = rig.request(1, 5.0F);
  EXPECT_TRUE(rig.batcher.run_here(next));
  EXPECT_TRUE(next.is_right());
}

TEST(Batcher, AFullQueueRefusesAndKeepsTheRequest) {
  const Watchdog watchdog("a full queue");
  BatcherRig rig(Options{.max_queue_size = 2});
  rig.block();
  std::vector<ValueRequest*> requests;
  std::vector<Request*> all;
  for (int i = 0; i < 3; ++i) {
    requests.push_back(&rig.request(1, static_cast<float>(i)));
    all.push_back(requests.back());
  }
  EXPECT_EQ(rig.batcher.enqueue(all), 2u);
  const Status& why = requests[2]->status;
  EXPECT_EQ(why.code, ErrorCode::kOverloaded);
  EXPECT_EQ(why.reason, Reason::kQueueFull);
  EXPECT_EQ(why.value, 2);
  EXPECT_EQ(why.limit, 2);
  EXPECT_FALSE(requests[2]->is_claimed());
  EXPECT_EQ(rig.enqueue(*requests[2]), 0u);
  ModelStats stats = rig.stats();
  EXPECT_EQ(stats.accepted, 3u);
  EXPECT_EQ(stats.refused[static_cast<std::size_t>(ErrorCode::kOverloaded)], 2u);
  rig.turnstile.open();
  EXPECT_TRUE(ends(*requests[0]) && ends(*requests[1]));
  EXPECT_EQ(rig.enqueue(*requests[2]), 1u);  // there is room again, and the request is as good as new
  EXPECT_TRUE(ends(*requests[2]) && requests[2]->is_right());
}

TEST(Batcher, WhatExpiresInTheQueueIsNeverRun) {
  const Watchdog watchdog("a deadline in the queue", std::chrono::seconds(20));
  BatcherRig rig;
  rig.block();
  ValueRequest& late = rig.request(1, 1.0F);
  late.timeout = 500;
  late.deadline = rig.clock.now() + 500;
  ValueRequest& patient = rig.request(1, 2.0F);
  EXPECT_EQ(rig.enqueue(late), 1u);
  EXPECT_EQ(rig.enqueue(patient), 1u);
  rig.clock.advance(500);
  rig.turnstile.open();
  EXPECT_TRUE(ends(late) && ends(patient));
  EXPECT_EQ(late.status.code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(late.status.reason, Reason::kExpiredInQueue);
  EXPECT_EQ(late.status.value, 500);
  EXPECT_EQ(late.started_at, 0);
  EXPECT_TRUE(patient.is_right());
  EXPECT_EQ(rig.runs(), (Rows{1, 1}));
  EXPECT_EQ(rig.ended(ErrorCode::kDeadlineExceeded), 1u);
}

TEST(Batcher, WhatIsCancelledInTheQueueIsNeverRun) {
  const Watchdog watchdog("a cancellation in the queue");
  BatcherRig rig;
  rig.block();
  ValueRequest& request = rig.request(1, 1.0F);
  EXPECT_EQ(rig.enqueue(request), 1u);
  EXPECT_TRUE(Batcher::conclude(request, cancelled(), rig.clock.now()));
  EXPECT_FALSE(Batcher::conclude(request, cancelled(), rig.clock.now()));
  EXPECT_TRUE(request.ended());
  rig.turnstile.open();
  rig.batcher.close();
  EXPECT_EQ(request.status.code, ErrorCode::kCancelled);
  EXPECT_EQ(rig.runs(), Rows{1});
  EXPECT_EQ(rig.ended(ErrorCode::kCancelled), 1u);
  EXPECT_EQ(rig.ended(ErrorCode::kOk), 1u);
  EXPECT_EQ(rig.stats().in_flight, 0u);
}

TEST(Batcher, ACancellationDuringTheRunWinsAndTheAnswerIsDropped) {
  const Watchdog watchdog("a cancellation during a run");
  BatcherRig rig;
  ValueRequest& running = rig.block();
  EXPECT_TRUE(Batcher::conclude(running, cancelled(), rig.clock.now()));
  EXPECT_TRUE(running.ended());  // released at once, although the run goes on
  rig.turnstile.open();
  rig.batcher.close();
  EXPECT_EQ(running.status.code, ErrorCode::kCancelled);
  EXPECT_EQ(rig.ended(ErrorCode::kCancelled), 1u);
  EXPECT_EQ(rig.ended(ErrorCode::kOk), 0u);
  EXPECT_EQ(rig.stats().accepted, 1u);
}

TEST(Batcher, ABatchGivesItsEventLoopOneSignal) {
  const Watchdog watchdog("completions of a batch");
  BatcherRig rig;
  CompletionQueue first;
  CompletionQueue second;
  rig.block();
  std::vector<Request*> all;
  for (int i = 0; i < 6; ++i) {
    all.push_back(&rig.request(1, static_cast<float>(i)));
    EXPECT_TRUE(all.back()->notify_through(i % 2 == 0 ? first : second));
  }
  EXPECT_EQ(rig.batcher.enqueue(all), 6u);
  rig.turnstile.open();
  rig.batcher.close();
  EXPECT_EQ(rig.runs(), (Rows{1, 6}));
  for (CompletionQueue* queue : {&first, &second}) {
    std::uint64_t signals = 0;
    EXPECT_EQ(read(queue->descriptor(), &signals, sizeof(signals)), static_cast<ssize_t>(sizeof(signals)));
    EXPECT_EQ(signals, 1u);
    int got = 0;
    for (Request* at = queue->take_all(); at != nullptr; at = at->next_completed) ++got;
    EXPECT_EQ(got, 3);
  }
}

TEST(Batcher, ALoopsBatchRunsInPlaceOnlyWhenItIsKnownToBeShort) {
  const Watchdog watchdog("batches in place");
  const struct {
    const char* fact;
    Options options;
    std::size_t count;
    std::uint64_t signature;
    bool here;
  } table[] = {
      {"short and known", {.run_time = 10'000}, 2, 0, true},
      {"too long", {.run_time = 60'000}, 2, 0, false},
      {"just short enough, with the loop's own work", {.run_time = 26'500}, 2, 0, true},
      {"just too long", {.run_time = 27'000}, 2, 0, false},
      {"turned off", {.max_in_place_microseconds = 0, .run_time = 10'000}, 2, 0, false},
      {"another shape of another cost", {.one_shape = false, .run_time = 10'000}, 2, 5, false},
      {"another shape of a cost that is known", {.one_shape = false, .run_time = 10'000}, 2, 0, true},
      {"several that cannot share", {.batchable = false, .run_time = 10'000}, 2, 0, false},
      {"one that cannot share", {.batchable = false, .run_time = 10'000}, 1, 0, true},
      {"alone, four times as long", {.run_time = 201'000}, 1, 0, true},
      {"alone, and longer still", {.run_time = 202'000}, 1, 0, false},
      {"more rows than a run takes", {.max_batch_size = 3, .run_time = 1'000}, 4, 0, false},
  };
  for (const auto& row : table) {
    BatcherRig rig(row.options);
    std::vector<Request*> requests;
    std::vector<ValueRequest*> values;
    for (std::size_t i = 0; i < row.count; ++i) {
      values.push_back(&rig.request(1, static_cast<float>(10 * i)));
      values.back()->signature = row.signature;
      values.back()->cost_class = static_cast<std::uint16_t>(row.signature);
      requests.push_back(values.back());
    }
    EXPECT_FALSE(rig.run_here(requests));  // nothing is known yet
    EXPECT_TRUE(rig.batcher.run_here(rig.request(1, 1.0F)));
    if (!EXPECT_EQ(rig.run_here(requests), row.here)) std::fprintf(stderr, "  fact: %s\n", row.fact);
    for (ValueRequest* request : values) EXPECT_EQ(request->ended(), row.here);
    if (row.here) {
      for (ValueRequest* request : values) EXPECT_TRUE(request->is_right());
      EXPECT_EQ(rig.stats().in_place, 2u);
    }
  }
}

TEST(Batcher, LearnsHowLongALoneRunTakes) {
  BatcherRig rig(Options{.run_time = 1'000'000});
  EXPECT_EQ(rig.batcher.slow_run(), 0);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(rig.batcher.run_here(rig.request(1, 0.0F)));
  EXPECT_EQ(rig.batcher.slow_run(), 1'000'000);
}

TEST(Batcher, AFreedInstanceWaitsForCompanyThatKeepsArriving) {
  const Watchdog watchdog("a lingering instance");
  BatcherRig rig(Options{.max_queue_delay_microseconds = 1000});
  ValueRequest& first = rig.block();
  ValueRequest& second = rig.request(1, 1.0F);
  EXPECT_EQ(rig.enqueue(second), 1u);
  // A freed instance looks at its queue, then at the clock, turn by turn until its delay is over. The second look at
  // the clock from now on belongs to a turn that began after what is in the queue now had come.
  const auto has_looked = [&rig, &second] {
    until([&, before = rig.clock.reads()] { return rig.clock.reads() >= before + 2 || second.ended(); });
  };
  rig.turnstile.open();
  EXPECT_TRUE(ends(first));
  has_looked();
  ValueRequest& third = rig.request(1, 2.0F);
  EXPECT_EQ(rig.enqueue(third), 1u);
  has_looked();
  EXPECT_FALSE(second.ended());  // the clock stands still, so it waits for company
  rig.clock.advance(1'000'000);
  EXPECT_TRUE(ends(second) && ends(third));
  EXPECT_EQ(rig.runs(), (Rows{1, 2}));
}

// The clock never moves: would the lone request wait for its delay, it would wait for ever.
TEST(Batcher, ALoneRequestLeavesAtOnceWhateverTheDelay) {
  const Watchdog watchdog("a lone request with a delay set");
  BatcherRig rig(Options{.max_queue_delay_microseconds = 1'000'000});
  for (int i = 0; i < 3; ++i) {
    ValueRequest& request = rig.request(1, 1.0F);
    EXPECT_EQ(rig.enqueue(request), 1u);
    EXPECT_TRUE(ends(request) && request.is_right());
    until([&rig] { return rig.stats().instances_busy == 0; });
  }
}
