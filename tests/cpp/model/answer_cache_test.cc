// SPDX-License-Identifier: Apache-2.0
//
// A model with a response cache: who is answered at once, who waits for whom, and that nobody is lost.
#include "model/answer_cache.h"

#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <thread>

#include "anya/rollout_tally.h"
#include "model/model_impl.h"
#include "support/check.h"
#include "support/fake_clock.h"
#include "support/turnstile.h"
#include "support/value_request.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::CacheOptions;
using anya::CacheStats;
using anya::ErrorCode;
using anya::Model;
using anya::Nanos;
using anya::Request;
using anya::Status;

namespace {

constexpr Nanos kSecond = 1'000'000'000;

CacheOptions with_cache() {
  CacheOptions options;
  options.capacity_bytes = 1 << 20;
  options.ttl_jitter = 0;
  return options;
}

// One instance over a fake session: y = 2x + 1, where nothing else is said.
struct Rig {
  explicit Rig(const CacheOptions& cache = with_cache(), std::int64_t max_queue_size = 64) {
    auto made = std::make_unique<FakeSession>(value_schema(), [this](auto inputs, auto, auto outputs) {
      turnstile.pass();
      if (fails.load()) return Status::with_text(ErrorCode::kExecutionError, "told to fail");
      return value_model(inputs, outputs);
    });
    session = made.get();
    anya::ModelInfo info;
    info.name = "double";
    anya::BatchingOptions batching;
    batching.max_queue_size = max_queue_size;
    model = std::make_unique<Model>(
        std::make_unique<Model::Impl>(std::make_shared<anya::EngineShared>(clock), info, std::move(made),
                                      anya::Admission::Rules{true, {true}, 1 << 20}, batching,
                                      std::vector<anya::MeasuredRun>{}, anya::Timeouts{}, anya::ModelRules{}, cache));
  }
  ~Rig() {
    turnstile.open();
    model.reset();
  }
  ValueRequest& request(float value, int priority = 0) {
    requests.push_back(std::make_unique<ValueRequest>(owner, 1, value));
    requests.back()->priority = priority;
    return *requests.back();
  }
  // What a binding does before the run. True: it is in.
  bool prepare(ValueRequest& one) {
    EXPECT_TRUE(model->admit(one).ok());
    last_refusal = model->find_answer(one, Model::Caching::kUse);
    return one.ended() || (last_refusal.ok() && model->join(one, false));
  }
  bool enqueue(ValueRequest& one) {
    Request* only = &one;
    return model->enqueue({&only, 1}, false, last_refusal) == 1;
  }
  ValueRequest& ask(float value, int priority = 0) {
    ValueRequest& one = request(value, priority);
    if (!prepare(one)) EXPECT_TRUE(enqueue(one));
    return one;
  }
  // A run that waits at the turnstile, so that what comes next stays in the queue.
  ValueRequest& occupy() {
    const int before = turnstile.arrived();
    turnstile.shut();
    ValueRequest& one = ask(-1000);
    turnstile.wait_for(before + 1);
    return one;
  }
  void cancel(Request& one) { model->conclude(one, ErrorCode::kCancelled, anya::Reason::kCancelled); }
  static void wait(Request& one) { static_cast<void>(one.wait(anya::kNever)); }
  void wait_all() {
    for (const auto& one : requests) wait(*one);
  }
  // Its own right answer, from its own run or another one's.
  static bool is_right(const ValueRequest& one) {
    if (one.answer == nullptr) return one.is_right();
    const anya::OutputBuffer& output = one.answer->outputs()[0];
    const auto* x = static_cast<const float*>(one.inputs[0].data);
    const auto* y = static_cast<const float*>(output.data);
    return one.status.ok() && output.bytes == 2 * sizeof(float) && y[0] == 2 * x[0] + 1 && y[1] == 2 * x[1] + 1;
  }
  CacheStats cache() const { return model->stats().cache; }
  std::uint64_t ended(ErrorCode code) const { return model->stats().ended[static_cast<std::size_t>(code)]; }
  void expect_at_rest() {
    until([&] { return model->stats().in_flight == 0; });
    std::uint64_t all = 0;
    for (const std::uint64_t count : model->stats().ended) all += count;
    EXPECT_EQ(model->stats().accepted, all);
  }

  Watchdog watchdog{"a request that must end"};
  CountingOwner owner;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  std::shared_ptr<FakeClock> clock = std::make_shared<FakeClock>();
  Turnstile turnstile;
  std::atomic<bool> fails{false};
  FakeSession* session = nullptr;
  Status last_refusal;
  std::unique_ptr<Model> model;
};

}  // namespace

TEST(AnswerCache, AHitIsAnsweredWithoutARunAndWithoutAnInstance) {
  Rig rig;
  Rig::wait(rig.ask(1));
  rig.occupy();
  const ValueRequest& hit = rig.ask(1);
  EXPECT_TRUE(hit.ended());
  EXPECT_TRUE(rig.is_right(hit));
  EXPECT_EQ(hit.batch_rows, 0);
  EXPECT_EQ(rig.cache().hits, 1u);
  EXPECT_EQ(rig.session->runs(), 2);
}

TEST(AnswerCache, AHitIsAnsweredThoughTheQueueIsFull) {
  Rig rig(with_cache(), 1);
  Rig::wait(rig.ask(1));
  rig.turnstile.shut();
  rig.ask(2);
  rig.turnstile.wait_for(2);
  rig.ask(3);
  EXPECT_TRUE(rig.ask(1).ended());
  ValueRequest& other = rig.request(4);
  EXPECT_FALSE(rig.prepare(other));
  EXPECT_TRUE(rig.last_refusal.code == ErrorCode::kOverloaded);
}

TEST(AnswerCache, EqualRequestsInFlightRunOnce) {
  Rig rig;
  rig.occupy();
  for (int i = 0; i < 20; ++i) rig.ask(5);
  rig.ask(6);
  rig.turnstile.open();
  rig.wait_all();
  for (const auto& one : rig.requests) EXPECT_TRUE(rig.is_right(*one));
  EXPECT_EQ(rig.cache().coalesced, 19u);
  EXPECT_EQ(rig.model->stats().rows, 3u);
  rig.expect_at_rest();
}

TEST(AnswerCache, WithoutSingleFlightEachRuns) {
  CacheOptions options = with_cache();
  options.single_flight = false;
  Rig rig(options);
  rig.occupy();
  for (int i = 0; i < 5; ++i) rig.ask(5);
  rig.turnstile.open();
  rig.wait_all();
  EXPECT_EQ(rig.model->stats().rows, 6u);
  EXPECT_TRUE(rig.ask(5).ended());
}

TEST(AnswerCache, AFailedLeaderFailsThoseWhoWait) {
  Rig rig;
  rig.occupy();
  for (int i = 0; i < 5; ++i) rig.ask(kPoison);
  rig.turnstile.open();
  rig.wait_all();
  for (std::size_t i = 1; i < rig.requests.size(); ++i) {
    EXPECT_TRUE(rig.requests[i]->status.code == ErrorCode::kExecutionError);
    EXPECT_EQ(*rig.requests[i]->status.text, "poison");
  }
  EXPECT_EQ(rig.session->runs(), 2);
  EXPECT_EQ(rig.cache().entries, 1u);  // no error is kept
  rig.expect_at_rest();
}

TEST(AnswerCache, OrLetsTheNextOneRun) {
  CacheOptions options = with_cache();
  options.on_leader_error = "rerun";
  Rig rig(options);
  rig.occupy();
  for (int i = 0; i < 5; ++i) rig.ask(kPoison);
  rig.turnstile.open();
  rig.wait_all();
  EXPECT_EQ(rig.session->runs(), 6);
  EXPECT_EQ(rig.ended(ErrorCode::kExecutionError), 5u);
  rig.expect_at_rest();
}

TEST(AnswerCache, WhoWaitedForACancelledLeaderIsAnswered) {
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

TEST(AnswerCache, WhoWaitsEndsByItself) {
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

TEST(AnswerCache, ALeaderThatIsNeverQueuedHandsOn) {
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

TEST(AnswerCache, NobodyWaitsForALessUrgentRun) {
  Rig rig;
  rig.occupy();
  rig.ask(5, 200);
  ValueRequest& urgent = rig.ask(5, 1);
  EXPECT_FALSE(urgent.by_other);
  ValueRequest& patient = rig.ask(5, 255);
  EXPECT_TRUE(patient.by_other);
  rig.turnstile.open();
  rig.wait_all();
  EXPECT_EQ(rig.model->stats().rows, 3u);
}

TEST(AnswerCache, NoMoreWaitThanMayQueue) {
  Rig rig(with_cache(), 3);
  rig.occupy();
  rig.ask(5);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(rig.ask(5).by_other);
  EXPECT_FALSE(rig.ask(5).by_other);
  rig.turnstile.open();
  rig.wait_all();
}

// Nobody finds a place once the leader has gone: each ends, one after the other, and none inside the other.
TEST(AnswerCache, AFullQueueEndsThoseWhoWereToRun) {
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
  rig.turnstile.open();
  rig.requests.erase(rig.requests.begin() + 1);
  rig.wait_all();
  rig.expect_at_rest();
}

TEST(AnswerCache, NothingNotFiniteIsKept) {
  Rig rig;
  for (const float odd : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    Rig::wait(rig.ask(odd));
    Rig::wait(rig.ask(odd));
  }
  EXPECT_EQ(rig.cache().entries, 0u);
  EXPECT_EQ(rig.session->runs(), 4);
}

TEST(AnswerCache, AStaleAnswerIsBetterThanAnError) {
  CacheOptions options = with_cache();
  options.ttl = 10;
  options.stale_if_error = 100;
  Rig rig(options);
  Rig::wait(rig.ask(1));
  rig.clock->advance(11 * kSecond);
  rig.fails.store(true);
  ValueRequest& kept = rig.ask(1);
  Rig::wait(kept);
  EXPECT_TRUE(rig.is_right(kept));
  EXPECT_EQ(kept.stale_age, 1 * kSecond);
  ValueRequest& unknown = rig.ask(2);
  Rig::wait(unknown);
  EXPECT_TRUE(unknown.status.code == ErrorCode::kExecutionError);
  rig.clock->advance(100 * kSecond);
  ValueRequest& late = rig.ask(1);
  Rig::wait(late);
  EXPECT_TRUE(late.status.code == ErrorCode::kExecutionError);
  EXPECT_EQ(rig.cache().stale_on_error, 1u);
  rig.expect_at_rest();
}

TEST(AnswerCache, ACancelledRequestGetsNoStaleAnswer) {
  CacheOptions options = with_cache();
  options.ttl = 10;
  options.stale_if_error = 100;
  Rig rig(options);
  Rig::wait(rig.ask(1));
  rig.clock->advance(11 * kSecond);
  rig.turnstile.shut();
  ValueRequest& one = rig.ask(1);
  rig.cancel(one);
  EXPECT_TRUE(one.status.code == ErrorCode::kCancelled);
}

TEST(AnswerCache, AStaleAnswerIsGivenWhileANewOneIsMade) {
  CacheOptions options = with_cache();
  options.ttl = 10;
  options.stale_while_revalidate = 100;
  Rig rig(options);
  Rig::wait(rig.ask(1));
  rig.clock->advance(11 * kSecond);
  rig.turnstile.shut();
  for (int i = 0; i < 3; ++i) {
    const ValueRequest& stale = rig.ask(1);
    EXPECT_TRUE(stale.ended());
    EXPECT_TRUE(rig.is_right(stale));
    EXPECT_EQ(stale.stale_age, 1 * kSecond);
  }
  rig.turnstile.open();
  until([&] { return rig.cache().insertions == 2; });
  EXPECT_EQ(rig.session->runs(), 2);  // one for all three
  const ValueRequest& fresh = rig.ask(1);
  EXPECT_TRUE(fresh.ended());
  EXPECT_EQ(fresh.stale_age, -1);
  rig.expect_at_rest();
}

TEST(AnswerCache, WhatBypassesTheCacheNeitherUsesNorFillsIt) {
  Rig rig;
  for (int i = 0; i < 2; ++i) {
    ValueRequest& one = rig.request(1);
    ASSERT_TRUE(rig.model->admit(one).ok());
    ASSERT_TRUE(rig.model->find_answer(one, Model::Caching::kBypass).ok());
    EXPECT_FALSE(one.ended());
    EXPECT_TRUE(rig.enqueue(one));
    Rig::wait(one);
  }
  EXPECT_EQ(rig.cache().insertions + rig.cache().misses, 0u);
}

TEST(AnswerCache, AClosedModelAnswersNothingAndKeepsNothing) {
  Rig rig;
  Rig::wait(rig.ask(1));
  rig.model->close();
  ValueRequest& one = rig.request(1);
  EXPECT_FALSE(rig.prepare(one));
  EXPECT_TRUE(rig.last_refusal.code == ErrorCode::kUnavailable);
  EXPECT_EQ(rig.cache().bytes, rig.cache().fixed_bytes);
}

// One run, a hit, one who waited, and a failure that a stale answer hid: the judge of a rollout hears of the runs.
TEST(AnswerCache, OnlyRunsAreEvidence) {
  CacheOptions options = with_cache();
  options.ttl = 1;
  options.stale_if_error = 100;
  Rig rig(options);
  struct alignas(64) CacheLine {
    std::byte bytes[64];
  };
  const auto lines = std::make_shared<std::vector<CacheLine>>((anya::RolloutTally::bytes() + 63) / 64);
  anya::RolloutTally tally({lines->data()->bytes, lines->size() * 64}, lines, 1000 * kSecond);
  const auto ask = [&](float value) {
    ValueRequest& one = rig.request(value);
    one.tally = &tally;
    if (!rig.prepare(one)) EXPECT_TRUE(rig.enqueue(one));
    return &one;
  };
  rig.occupy();
  ask(5);
  ask(5);
  rig.turnstile.open();
  rig.wait_all();
  EXPECT_TRUE(ask(5)->by_other);
  rig.clock->advance(2 * kSecond);
  rig.fails.store(true);
  ValueRequest* const hidden = ask(5);
  Rig::wait(*hidden);
  EXPECT_TRUE(hidden->status.ok());
  const auto counts = tally.take(0).counts[0][0];
  EXPECT_EQ(counts.units, 2u);
  EXPECT_EQ(counts.bad, 1u);
}

// A caller that writes into its array while its request waits cannot make the cache lie.
TEST(AnswerCache, TheRunReadsWhatWasHashed) {
  Rig rig;
  rig.occupy();
  ValueRequest& one = rig.request(1);
  auto* const given = static_cast<float*>(const_cast<void*>(one.inputs[0].data));
  EXPECT_FALSE(rig.prepare(one));
  ASSERT_TRUE(rig.enqueue(one));
  given[0] = 77;
  rig.turnstile.open();
  Rig::wait(one);
  const ValueRequest& same = rig.ask(1);
  EXPECT_TRUE(same.ended());
  EXPECT_TRUE(rig.is_right(same));
}

// Threads ask few questions, cancel at random, and some runs fail: each request ends once, answered right or not at
// all.
TEST(AnswerCache, NoneIsLostInTheCrowd) {
  for (const char* on_error : {"fail", "rerun"}) {
    CacheOptions options = with_cache();
    options.on_leader_error = on_error;
    options.ttl = 1e-6;
    options.stale_while_revalidate = 1e-6;
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
          EXPECT_TRUE(rig.model->admit(one).ok());
          Status refusal = rig.model->find_answer(one, Model::Caching::kUse);
          EXPECT_TRUE(refusal.ok());
          if (!one.ended() && !rig.model->join(one, false)) {
            Request* only = &one;
            EXPECT_EQ(rig.model->enqueue({&only, 1}, false, refusal), 1u);
          }
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
