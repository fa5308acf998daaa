// SPDX-License-Identifier: Apache-2.0
//
// One version, several ways into it: what its circuit breaker, its cache and its twins make of each other.
#include "batching/standing.h"

#include <memory>

#include "model/answer_cache_rig.h"

using namespace anya::test;
using anya::BreakerOptions;
using anya::CacheOptions;
using anya::CircuitState;
using anya::ErrorCode;
using anya::Faults;
using anya::Model;
using anya::Reason;
using anya::Status;

namespace {

constexpr std::int64_t kRoom = 64;

// Opens after two failures of the last two calls, for five seconds.
BreakerOptions quick() {
  BreakerOptions options;
  options.window = options.minimum_calls = 2;
  options.failure_rate = 1;
  options.probes = 1;
  return options;
}

void break_it(Rig& rig) {
  rig.fails.store(true);
  rig.answered(100);
  rig.answered(101);
  EXPECT_TRUE(rig.model->circuit()->state == CircuitState::kOpen);
}

}  // namespace

TEST(Standing, AHitNeitherAsksTheBreakerNorTellsIt) {
  Rig rig(with_cache(), kRoom, quick());
  rig.answered(1);
  rig.fails.store(true);
  rig.answered(100);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(rig.ask(1).ended());
  EXPECT_EQ(rig.model->circuit()->calls, 2u);  // hits would have pushed the failure out
  EXPECT_EQ(rig.model->circuit()->failed, 1u);
  rig.answered(101);
  EXPECT_TRUE(rig.model->circuit()->state == CircuitState::kOpen);
  EXPECT_TRUE(rig.is_right(rig.ask(1)));
  EXPECT_FALSE(rig.model->turns_away());  // who knows what it will be asked
  ValueRequest& other = rig.request(2);
  EXPECT_FALSE(rig.prepare(other));
  EXPECT_TRUE(rig.last_refusal.reason == Reason::kBreakerOpen);
}

TEST(Standing, FollowersOfOneFailedRunAreOneCall) {
  Rig rig(with_cache(), kRoom, quick());
  rig.occupy();
  rig.fails.store(true);
  for (int i = 0; i < 5; ++i) rig.ask(1);
  rig.finish();
  EXPECT_EQ(rig.ended(ErrorCode::kExecutionError), 6u);  // that of `occupy` included
  EXPECT_EQ(rig.model->circuit()->events.back().calls, 2u);
}

TEST(Standing, AStaleAnswerIsBetterThanAnOpenBreaker) {
  Rig rig(with_stale(100, 0), kRoom, quick());
  rig.answered(1);
  rig.clock->advance(11 * kSecond);
  break_it(rig);
  const ValueRequest& answered = rig.ask(1);
  EXPECT_TRUE(rig.is_right(answered));
  EXPECT_EQ(answered.stale_age, 1 * kSecond);
  ValueRequest& strict = rig.request(1);
  EXPECT_FALSE(rig.prepare(strict, Model::Caching::kFresh));
  EXPECT_TRUE(rig.last_refusal.reason == Reason::kBreakerOpen);
}

TEST(Standing, WhoTakesNothingStaleGetsTheErrorOrAFreshAnswer) {
  Rig rig(with_stale(100, 50));
  rig.answered(1);
  rig.clock->advance(11 * kSecond);
  rig.fails.store(true);
  ValueRequest& failed = rig.request(1);
  rig.ask(failed, Model::Caching::kFresh);
  Rig::wait(failed);
  EXPECT_TRUE(failed.status.code == ErrorCode::kExecutionError);
  rig.fails.store(false);
  ValueRequest& fresh = rig.request(1);
  rig.ask(fresh, Model::Caching::kFresh);
  Rig::wait(fresh);
  EXPECT_TRUE(rig.is_right(fresh));
  EXPECT_EQ(rig.cache().stale + rig.cache().stale_on_error, 0u);
  ValueRequest& hit = rig.request(1);
  EXPECT_TRUE(rig.prepare(hit, Model::Caching::kFresh));
  EXPECT_TRUE(rig.is_right(hit));
}

TEST(Standing, NothingIsMadeAnewWhileTheBreakerIsOpen) {
  Rig rig(with_stale(0, 1000), kRoom, quick());
  rig.answered(1);
  rig.clock->advance(11 * kSecond);
  break_it(rig);
  const int before = rig.session->runs();
  EXPECT_TRUE(rig.is_right(rig.ask(1)));
  rig.expect_at_rest();
  EXPECT_EQ(rig.session->runs(), before);
  rig.clock->advance(5 * kSecond);
  rig.fails.store(false);
  EXPECT_TRUE(rig.is_right(rig.ask(1)));
  until([&] { return rig.model->circuit()->state == CircuitState::kClosed; });  // making it anew was the probe
  EXPECT_EQ(rig.session->runs(), before + 1);
}

TEST(Standing, WhatTheCacheHadLastIsFoundAndCountedNowhereElse) {
  CacheOptions options = with_stale(0, 0);
  options.last_good = 1000;
  Rig rig(options);
  rig.answered(1);
  rig.clock->advance(20 * kSecond);
  const auto last = [&](float value, anya::Nanos max_age) -> ValueRequest& {
    ValueRequest& one = rig.request(value);
    EXPECT_TRUE(rig.model->admit(one).ok());
    EXPECT_TRUE(rig.model->find_answer(one, Model::Caching::kLater).ok());
    EXPECT_TRUE(rig.model->last_good(one, max_age) == (one.answer != nullptr));
    return one;
  };
  const ValueRequest& found = last(1, 11 * kSecond);
  EXPECT_TRUE(rig.is_right(found));
  EXPECT_EQ(found.stale_age, 10 * kSecond);
  EXPECT_TRUE(last(1, 10 * kSecond).answer == nullptr);
  EXPECT_TRUE(last(2, 11 * kSecond).answer == nullptr);
  EXPECT_EQ(rig.model->stats().accepted, 1u);
  EXPECT_EQ(rig.session->runs(), 1);
}

TEST(Standing, ATwinSharesBreakerDeviceAndFaults) {
  Rig rig(CacheOptions{}, kRoom, quick());
  const std::shared_ptr<Model> twin = rig.model->make_twin();
  const auto ask = [&](Model& whom) {
    ValueRequest& one = rig.request(1);
    Status status = whom.admit(one);
    if (status.ok()) EXPECT_TRUE(whom.run_here(one));
    return status.ok() ? one.status : status;
  };
  EXPECT_TRUE(ask(*twin).ok());
  EXPECT_EQ(rig.model->succeeded(), 1u);
  auto faults = std::make_shared<Faults>();
  faults->code = ErrorCode::kExecutionError;
  EXPECT_TRUE(rig.model->inject(faults));
  EXPECT_TRUE(ask(*twin).code == ErrorCode::kExecutionError);
  EXPECT_TRUE(ask(*rig.model).code == ErrorCode::kExecutionError);
  EXPECT_TRUE(rig.model->circuit()->state == CircuitState::kOpen);
  EXPECT_TRUE(ask(*twin).reason == Reason::kBreakerOpen);
  EXPECT_TRUE(ask(*rig.model).reason == Reason::kBreakerOpen);
  rig.clock->advance(5 * kSecond);
  EXPECT_TRUE(rig.model->inject(nullptr));
  faults = std::make_shared<Faults>(*faults);
  faults->device_lost = true;
  EXPECT_TRUE(rig.model->inject(faults));
  EXPECT_TRUE(ask(*twin).reason == Reason::kDeviceFailed);
  EXPECT_TRUE(rig.model->failed());
  EXPECT_TRUE(ask(*rig.model).code == ErrorCode::kUnavailable);
  EXPECT_EQ(rig.session->runs(), 1);
  rig.model->end_twin(twin);
  EXPECT_EQ(rig.model->succeeded(), 1u);
}
