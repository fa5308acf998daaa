// SPDX-License-Identifier: Apache-2.0
//
// Hits, stale answers and what is kept; equal requests in flight are in single_flight_test.cc.
#include "model/answer_cache.h"

#include <cmath>
#include <limits>

#include "model/answer_cache_rig.h"
#include "support/tally_memory.h"

using namespace anya::test;
using anya::ErrorCode;
using anya::Model;

TEST(AnswerCache, AHitIsAnsweredWithoutARunAndWithoutAnInstance) {
  Rig rig;
  rig.answered(1);
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
  rig.answered(1);
  rig.turnstile.shut();
  rig.ask(2);
  rig.turnstile.wait_for(2);
  rig.ask(3);
  EXPECT_TRUE(rig.ask(1).ended());
  ValueRequest& other = rig.request(4);
  EXPECT_FALSE(rig.prepare(other));
  EXPECT_TRUE(rig.last_refusal.code == ErrorCode::kOverloaded);
}

TEST(AnswerCache, NothingNotFiniteIsKept) {
  Rig rig;
  for (const float odd : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    rig.answered(odd);
    rig.answered(odd);
  }
  EXPECT_EQ(rig.cache().entries, 0u);
  EXPECT_EQ(rig.session->runs(), 4);
}

TEST(AnswerCache, AStaleAnswerIsBetterThanAnError) {
  Rig rig(with_stale(100, 0));
  rig.answered(1);
  rig.clock->advance(11 * kSecond);
  rig.fails.store(true);
  const ValueRequest& kept = rig.answered(1);
  EXPECT_TRUE(rig.is_right(kept));
  EXPECT_EQ(kept.stale_age, 1 * kSecond);
  const ValueRequest& unknown = rig.answered(2);
  EXPECT_TRUE(unknown.status.code == ErrorCode::kExecutionError);
  rig.clock->advance(100 * kSecond);
  const ValueRequest& late = rig.answered(1);
  EXPECT_TRUE(late.status.code == ErrorCode::kExecutionError);
  EXPECT_EQ(rig.cache().stale_on_error, 1u);
  rig.expect_at_rest();
}

TEST(AnswerCache, ACancelledRequestGetsNoStaleAnswer) {
  Rig rig(with_stale(100, 0));
  rig.answered(1);
  rig.clock->advance(11 * kSecond);
  rig.turnstile.shut();
  ValueRequest& one = rig.ask(1);
  rig.cancel(one);
  EXPECT_TRUE(one.status.code == ErrorCode::kCancelled);
}

TEST(AnswerCache, AStaleAnswerIsGivenWhileANewOneIsMade) {
  Rig rig(with_stale(0, 100));
  rig.answered(1);
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
    rig.ask(one, Model::Caching::kBypass);
    Rig::wait(one);
  }
  EXPECT_EQ(rig.cache().insertions + rig.cache().misses + rig.cache().hits, 0u);
  EXPECT_EQ(rig.session->runs(), 2);
}

TEST(AnswerCache, AClosedModelAnswersNothingAndKeepsNothing) {
  Rig rig;
  rig.answered(1);
  rig.model->close();
  ValueRequest& one = rig.request(1);
  EXPECT_FALSE(rig.prepare(one));
  EXPECT_TRUE(rig.last_refusal.code == ErrorCode::kUnavailable);
  EXPECT_EQ(rig.cache().bytes, rig.cache().fixed_bytes);
}

// One run, a hit, one who waited, and a failure that a stale answer hid: the judge of a rollout hears of the runs.
TEST(AnswerCache, OnlyRunsAreEvidence) {
  Rig rig(with_stale(100, 0, 1));
  anya::RolloutTally tally = TallyMemory().tally(1000 * kSecond);
  const auto ask = [&](float value) {
    ValueRequest& one = rig.request(value);
    one.tally = &tally;
    rig.ask(one);
    return &one;
  };
  rig.occupy();
  ask(5);
  ask(5);
  rig.finish();
  EXPECT_TRUE(ask(5)->by_other);
  rig.clock->advance(2 * kSecond);
  rig.fails.store(true);
  ValueRequest* const hidden = ask(5);
  Rig::wait(*hidden);
  EXPECT_TRUE(hidden->status.ok());
  const auto counts = tally.look(0).counts[0][0];
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
