// SPDX-License-Identifier: Apache-2.0
//
// Closing a batcher: what was accepted ends, what comes afterwards is refused, whoever is inside is waited for.
#include <thread>
#include <vector>

#include "batching/batcher_rig.h"
#include "support/check.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::Batcher;
using anya::ErrorCode;
using anya::Reason;
using anya::Request;

namespace {
using Options = BatcherRig::Options;

// Blocks until close() has shut the door.
void wait_for_shut_door(const BatcherRig& rig) {
  until([&rig] { return rig.batcher.closed(); });
}
}  // namespace

TEST(BatcherClose, DrainsWhatWasAccepted) {
  const Watchdog watchdog("a close with a full queue");
  for (const int instances : {1, 3}) {
    BatcherRig rig(Options{.instances = instances});
    rig.block();
    std::vector<ValueRequest*> requests;
    for (int i = 0; i < 40; ++i) {
      requests.push_back(&rig.request(1 + i % 3, static_cast<float>(i)));
      EXPECT_EQ(rig.enqueue(*requests.back()), 1u);
    }
    std::thread closer([&rig] { rig.batcher.close(); });
    wait_for_shut_door(rig);
    EXPECT_FALSE(requests.back()->ended() && instances == 1);
    rig.turnstile.open();
    closer.join();
    for (ValueRequest* request : requests) EXPECT_TRUE(request->ended() && request->is_right());
    EXPECT_EQ(rig.ended(ErrorCode::kOk), 41u);
    EXPECT_EQ(rig.stats().in_flight, 0u);
    EXPECT_EQ(rig.stats().queue_depth, 0u);
    EXPECT_EQ(rig.stats().instances_busy, 0u);
  }
}

TEST(BatcherClose, DrainingWaitsNoLongerThanItMay) {
  const Watchdog watchdog("a drain with an end to its waiting");
  BatcherRig rig(Options{.instances = 2});
  rig.block();
  ValueRequest& queued = rig.request(1, 3.0F);
  EXPECT_EQ(rig.enqueue(queued), 1u);
  EXPECT_FALSE(rig.batcher.drain(rig.clock.now()));
  EXPECT_TRUE(rig.batcher.closed());
  ValueRequest& late = rig.request(1, 4.0F);
  EXPECT_EQ(rig.enqueue(late), 0u);
  rig.turnstile.open();
  EXPECT_TRUE(rig.batcher.drain(anya::kNever));
  EXPECT_TRUE(queued.ended() && queued.is_right());
  EXPECT_TRUE(rig.batcher.drain(0));  // there is nothing to wait for
}

TEST(BatcherClose, RefusesWhatComesAfterwards) {
  const Watchdog watchdog("a closed batcher");
  BatcherRig rig;
  rig.batcher.close();
  rig.batcher.close();
  ValueRequest& request = rig.request(1, 0.0F);
  EXPECT_FALSE(rig.batcher.run_here(request));
  EXPECT_EQ(rig.enqueue(request), 0u);
  EXPECT_EQ(request.status.code, ErrorCode::kUnavailable);
  EXPECT_EQ(request.status.reason, Reason::kClosed);
  EXPECT_EQ(rig.stats().refused[static_cast<std::size_t>(ErrorCode::kUnavailable)], 1u);
  EXPECT_EQ(rig.stats().accepted, 0u);
  EXPECT_FALSE(request.is_claimed());
}

TEST(BatcherClose, WaitsForACallerWhoRunsItsOwn) {
  const Watchdog watchdog("a close with a caller inside");
  BatcherRig rig;
  rig.turnstile.shut();
  ValueRequest& request = rig.request(1, 4.0F);
  std::thread caller([&] { EXPECT_TRUE(rig.batcher.run_here(request)); });
  rig.turnstile.wait_for(1);
  bool ended_when_closed = false;
  std::thread closer([&] {
    rig.batcher.close();
    ended_when_closed = request.ended();
  });
  wait_for_shut_door(rig);
  EXPECT_FALSE(request.ended());
  rig.turnstile.open();
  closer.join();
  caller.join();
  EXPECT_TRUE(ended_when_closed);
  EXPECT_TRUE(request.is_right());
}

TEST(BatcherClose, EndsALingeringInstanceAtItsTime) {
  const Watchdog watchdog("a close with a lingering instance");
  BatcherRig rig(Options{.max_queue_delay_microseconds = 1000});
  ValueRequest& first = rig.block();
  ValueRequest& second = rig.request(1, 1.0F);
  EXPECT_EQ(rig.enqueue(second), 1u);
  rig.turnstile.open();
  EXPECT_EQ(first.wait(anya::kNever), Request::Wait::kEnded);
  std::thread closer([&rig] { rig.batcher.close(); });
  wait_for_shut_door(rig);
  rig.clock.advance(1'000'000);
  closer.join();
  EXPECT_TRUE(second.is_right());
}

TEST(BatcherClose, SeveralMayCloseAtOnce) {
  const Watchdog watchdog("three closers");
  BatcherRig rig(Options{.instances = 2});
  rig.block();
  ValueRequest& request = rig.request(1, 1.0F);
  EXPECT_EQ(rig.enqueue(request), 1u);
  std::vector<std::thread> closers;
  for (int i = 0; i < 3; ++i) closers.emplace_back([&rig] { rig.batcher.close(); });
  wait_for_shut_door(rig);
  rig.turnstile.open();
  for (std::thread& closer : closers) closer.join();
  EXPECT_TRUE(request.is_right());
}

// Many short lives: threads that come and go around a close never find it stuck, and the equation holds each time.
TEST(BatcherClose, AtAnyMomentUnderTraffic) {
  const Watchdog watchdog("close under traffic");
  for (int round = 0; round < 60; ++round) {
    BatcherRig rig(Options{.instances = 1 + round % 3});
    constexpr std::size_t kThreads = 3;
    std::vector<std::vector<ValueRequest*>> own(kThreads);
    for (auto& mine : own) {
      for (int i = 0; i < 30; ++i) mine.push_back(&rig.request(1, static_cast<float>(i)));
    }
    std::atomic<int> ok{0};
    std::atomic<int> refused{0};
    std::atomic<int> begun{0};
    std::vector<std::thread> callers;
    for (auto& mine : own) {
      callers.emplace_back([&rig, &mine, &ok, &refused, &begun] {
        for (ValueRequest* request : mine) {
          begun.fetch_add(1);
          if (rig.batcher.run_here(*request) || rig.enqueue(*request) == 1) {
            EXPECT_EQ(request->wait(anya::kNever), Request::Wait::kEnded);
            ok.fetch_add(request->is_right() ? 1 : 0);
          } else {
            refused.fetch_add(1);
          }
        }
      });
    }
    until([&] { return begun.load() > round; });
    rig.batcher.close();
    const anya::ModelStats at_close = rig.stats();
    for (std::thread& caller : callers) caller.join();
    EXPECT_EQ(at_close.in_flight, 0u);
    EXPECT_EQ(rig.stats().accepted, at_close.accepted);
    EXPECT_EQ(at_close.accepted, static_cast<std::uint64_t>(ok.load()));
    EXPECT_EQ(ok.load() + refused.load(), 90);
  }
}
