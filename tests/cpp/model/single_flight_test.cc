// SPDX-License-Identifier: Apache-2.0
//
// Equal requests in flight: who runs, who waits for whom, and that nobody is lost.
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "model/answer_cache_rig.h"

using namespace anya::test;
using anya::CacheOptions;
using anya::ErrorCode;

TEST(SingleFlight, EqualRequestsInFlightRunOnce) {
  Rig rig;
  rig.occupy();
  for (int i = 0; i < 20; ++i) rig.ask(5);
  rig.ask(6);
  rig.finish();
  for (const auto& one : rig.requests) EXPECT_TRUE(rig.is_right(*one));
  EXPECT_EQ(rig.cache().coalesced, 19u);
  EXPECT_EQ(rig.model->stats().rows, 3u);
  rig.expect_at_rest();
}

TEST(SingleFlight, WithoutSingleFlightEachRuns) {
  CacheOptions options = with_cache();
  options.single_flight = false;
  Rig rig(options);
  rig.occupy();
  for (int i = 0; i < 5; ++i) rig.ask(5);
  rig.finish();
  EXPECT_EQ(rig.model->stats().rows, 6u);
  EXPECT_TRUE(rig.ask(5).ended());
}

TEST(SingleFlight, AFailedLeaderFailsThoseWhoWait) {
  Rig rig;
  rig.occupy();
  for (int i = 0; i < 5; ++i) rig.ask(kPoison);
  rig.finish();
  for (std::size_t i = 1; i < rig.requests.size(); ++i) {
    EXPECT_TRUE(rig.requests[i]->status.code == ErrorCode::kExecutionError);
    EXPECT_EQ(*rig.requests[i]->status.text, "poison");
  }
  EXPECT_EQ(rig.session->runs(), 2);
  EXPECT_EQ(rig.cache().entries, 1u);  // no error is kept
  rig.expect_at_rest();
}

TEST(SingleFlight, OrLetsTheNextOneRun) {
  CacheOptions options = with_cache();
  options.on_leader_error = "rerun";
  Rig rig(options);
  rig.occupy();
  for (int i = 0; i < 5; ++i) rig.ask(kPoison);
  rig.finish();
  EXPECT_EQ(rig.session->runs(), 6);
  EXPECT_EQ(rig.ended(ErrorCode::kExecutionError), 5u);
  rig.expect_at_rest();
}

TEST(SingleFlight, WhoWaitedForACancelledLeaderIsAnswered) {
  Rig rig;
  rig.occupy();
  ValueRequest& leader = rig.ask(5);
  ValueRequest& next = rig.ask(5);
  ValueRequest& last = rig.ask(5);
  rig.cancel(leader);
  EXPECT_TRUE(leader.ended());
  EXPECT_FALSE(next.ended());
  rig.turnstile.open();
  Rig::wait(next);
  Rig::wait(last);
  EXPECT_TRUE(next.answer == nullptr);  // it ran itself
  EXPECT_TRUE(rig.is_right(next));
  EXPECT_TRUE(last.answer != nullptr);
  EXPECT_TRUE(rig.is_right(last));
  rig.expect_at_rest();
}

TEST(SingleFlight, WhoWaitsEndsByItself) {
  Rig rig;
  rig.occupy();
  ValueRequest& leader = rig.ask(5);
  ValueRequest& gone = rig.ask(5);
  ValueRequest& stays = rig.ask(5);
  rig.cancel(gone);
  EXPECT_TRUE(gone.status.code == ErrorCode::kCancelled);
  rig.cancel(leader);  // the flight goes to one who still lives
  rig.turnstile.open();
  Rig::wait(stays);
  EXPECT_TRUE(rig.is_right(stays));
  EXPECT_TRUE(gone.status.code == ErrorCode::kCancelled);
  EXPECT_EQ(rig.ended(ErrorCode::kCancelled), 2u);
  rig.expect_at_rest();
}

TEST(SingleFlight, ALeaderThatIsNeverQueuedHandsOn) {
  Rig rig;
  rig.occupy();
  ValueRequest& leader = rig.request(5);
  EXPECT_FALSE(rig.prepare(leader));
  ValueRequest& next = rig.ask(5);
  ASSERT_TRUE(leader.flight != nullptr);
  rig.model->give_up(leader);
  rig.turnstile.open();
  Rig::wait(next);
  EXPECT_TRUE(rig.is_right(next));
  rig.requests.erase(rig.requests.begin() + 1);
  rig.expect_at_rest();
}

TEST(SingleFlight, NobodyWaitsForALessUrgentRun) {
  Rig rig;
  rig.occupy();
  rig.ask(5, 200);
  ValueRequest& urgent = rig.ask(5, 1);
  EXPECT_FALSE(urgent.by_other);
  ValueRequest& patient = rig.ask(5, 255);
  EXPECT_TRUE(patient.by_other);
  rig.finish();
  EXPECT_EQ(rig.model->stats().rows, 3u);
}

TEST(SingleFlight, NoMoreWaitThanMayQueue) {
  Rig rig(with_cache(), 3);
  rig.occupy();
  rig.ask(5);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(rig.ask(5).by_other);
  EXPECT_FALSE(rig.ask(5).by_other);
  rig.finish();
}

// Nobody finds a place once the leader has gone: each ends, one after the other, and none inside the other.
TEST(SingleFlight, AFullQueueEndsThoseWhoWereToRun) {
  Rig rig(with_cache(), 2);
  rig.occupy();
  ValueRequest& leader = rig.request(5);
  EXPECT_FALSE(rig.prepare(leader));
  ValueRequest& one = rig.ask(5);
  ValueRequest& two = rig.ask(5);
  rig.ask(6);
  rig.ask(7);
  rig.model->give_up(leader);
  EXPECT_TRUE(one.status.code == ErrorCode::kOverloaded);
  EXPECT_TRUE(two.status.code == ErrorCode::kOverloaded);
  rig.requests.erase(rig.requests.begin() + 1);
  rig.finish();
  rig.expect_at_rest();
}

// Threads ask few questions, cancel at random, and some runs fail: each request ends once, answered right or not at
// all.
TEST(SingleFlight, NoneIsLostInTheCrowd) {
  for (const char* on_error : {"fail", "rerun"}) {
    CacheOptions options = with_stale(0, 1e-6, 1e-6);
    options.on_leader_error = on_error;
    Rig rig(options, 1024);
    constexpr int kThreads = 3;
    constexpr int kEach = 700;
    std::vector<std::vector<std::unique_ptr<ValueRequest>>> asked(kThreads);
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < kThreads; ++t) {
      threads.emplace_back([&rig, &mine = asked[t], t] {
        std::mt19937 random(t);
        for (int i = 0; i < kEach; ++i) {
          const auto which = random() % 12;
          mine.push_back(
              std::make_unique<ValueRequest>(rig.owner, 1, which == 0 ? kPoison : static_cast<float>(which)));
          ValueRequest& one = *mine.back();
          rig.ask(one);
          if (random() % 4 == 0) rig.cancel(one);
          if (random() % 8 == 0) Rig::wait(one);
          rig.clock->advance(100);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& mine : asked) {
      for (const auto& one : mine) {
        Rig::wait(*one);
        if (one->status.ok()) EXPECT_TRUE(rig.is_right(*one));
      }
    }
    rig.expect_at_rest();
    rig.model->close();
    rig.model.reset();
    for (const auto& mine : asked) {
      for (const auto& one : mine) EXPECT_TRUE(one->drop());  // ours is the last reference
    }
  }
}
