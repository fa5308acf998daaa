// SPDX-License-Identifier: Apache-2.0
#include "batching/breaker.h"

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

#include "support/check.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::Breaker;
using anya::BreakerOptions;
using anya::CircuitState;
using anya::Nanos;

namespace {

using Call = Breaker::Call;
constexpr Nanos kSecond = 1'000'000'000;

BreakerOptions small() {
  BreakerOptions options;
  options.window = 8;
  options.minimum_calls = 4;
  options.open_duration = 5;
  options.max_open_duration = 15;
  options.probes = 2;
  options.slow_call_duration = 0.1;
  return options;
}

void call(Breaker& breaker, Call how, Nanos now = 0) { breaker.ended(breaker.began(), how, now); }

// "g" good, "f" failed, "s" slow, "b" both, "." nothing.
void calls(Breaker& breaker, const std::string& all, Nanos now = 0) {
  for (const char one : all) {
    call(breaker,
         one == 'g'   ? Call::kGood
         : one == 'f' ? Call::kFailed
         : one == 's' ? Call::kSlow
         : one == 'b' ? Call::kFailedAndSlow
                      : Call::kNothing,
         now);
  }
}

CircuitState state_after(const std::string& all) {
  Breaker breaker(small());
  calls(breaker, all);
  return breaker.read(0).state;
}

// Open at 0, half open at 5 s.
void open_and_wait(Breaker& breaker) {
  calls(breaker, "ffff");
  EXPECT_EQ(breaker.refuses(0), 5 * kSecond);
  EXPECT_EQ(breaker.refuses(5 * kSecond), 0);
  EXPECT_TRUE(breaker.read(0).state == CircuitState::kHalfOpen);
}

}  // namespace

TEST(Breaker, OpensByTheSharesOfItsLastCalls) {
  const struct {
    const char* fact;
    std::string calls;
    bool open;
  } table[] = {
      {"nothing called", "", false},
      {"fewer failures than the least calls", "fff", false},
      {"as many", "ffff", true},
      {"half of them", "gfgf", true},
      {"less than half", "ggfgfgf", false},
      {"what says nothing does not count", "fff......", false},
      {"failures that the window has let go", "fgggfgggfgggfggg", false},
      {"failures that the window still holds", "ggggggggffff", true},
      {"slow calls, fewer than four in five", "sssg", false},
      {"four in five", "ssssg", true},
      {"slow and failed are two shares", "sgfgsgfg", false},
      {"one call may be both", "bgbg", true},
  };
  for (const auto& row : table) {
    if (!EXPECT_EQ(state_after(row.calls) == CircuitState::kOpen, row.open)) {
      std::fprintf(stderr, "  fact: %s\n", row.fact);
    }
  }
}

TEST(Breaker, OpenRefusesUntilItsTimeIsOverThenLetsProbesThrough) {
  Breaker breaker(small());
  open_and_wait(breaker);
  static_cast<void>(breaker.began());
  EXPECT_EQ(breaker.refuses(5 * kSecond), 0);
  static_cast<void>(breaker.began());
  EXPECT_EQ(breaker.refuses(5 * kSecond), 1);  // both probes are on their way
}

TEST(Breaker, GoodProbesCloseItAndFailedOnesOpenItForTwiceAsLong) {
  Breaker breaker(small());
  open_and_wait(breaker);
  calls(breaker, "gf", 6 * kSecond);
  EXPECT_EQ(breaker.refuses(6 * kSecond), 10 * kSecond);
  EXPECT_EQ(breaker.refuses(16 * kSecond), 0);
  calls(breaker, "ff", 16 * kSecond);
  EXPECT_EQ(breaker.refuses(16 * kSecond), 15 * kSecond);  // no longer than max_open_duration
  EXPECT_EQ(breaker.refuses(31 * kSecond), 0);
  calls(breaker, "gg", 31 * kSecond);
  EXPECT_TRUE(breaker.closed());
  calls(breaker, "ffff", 40 * kSecond);
  EXPECT_EQ(breaker.refuses(40 * kSecond), 5 * kSecond);  // as at first
}

TEST(Breaker, WhatBeganBeforeAChangeSaysNothingOfTheStateAfterIt) {
  Breaker breaker(small());
  const Breaker::Tag old = breaker.began();
  open_and_wait(breaker);
  breaker.ended(old, Call::kFailed, 5 * kSecond);
  breaker.ended(old, Call::kNothing, 5 * kSecond);
  static_cast<void>(breaker.began());
  static_cast<void>(breaker.began());
  EXPECT_EQ(breaker.refuses(5 * kSecond), 1);  // it did not give a place back that it never had
  EXPECT_TRUE(breaker.read(0).state == CircuitState::kHalfOpen);
}

TEST(Breaker, AProbeThatSaysNothingGivesItsPlaceBack) {
  Breaker breaker(small());
  open_and_wait(breaker);
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(breaker.refuses(5 * kSecond), 0);
    call(breaker, Call::kNothing);
  }
  calls(breaker, "gg");
  EXPECT_TRUE(breaker.closed());
}

TEST(Breaker, AClockThatJumpsNeitherLocksItNorCrashes) {
  Breaker breaker(small());
  calls(breaker, "ffff", 1000 * kSecond);
  EXPECT_EQ(breaker.refuses(-1000 * kSecond), 0);  // back: it would wait for 2000 s
  calls(breaker, "ff", -1000 * kSecond);
  EXPECT_EQ(breaker.refuses(INT64_MAX / 4), 0);  // forth
}

TEST(Breaker, FlappingAtItsThresholdChangesStateOncePerDecision) {
  Breaker breaker(small());
  Nanos now = 0;
  for (int round = 0; round < 50; ++round) {
    calls(breaker, "gfgf", now);  // exactly the rate
    EXPECT_FALSE(breaker.closed());
    now += 5 * kSecond;
    EXPECT_EQ(breaker.refuses(now), 0);
    calls(breaker, "gg", now);
    EXPECT_TRUE(breaker.closed());
  }
  const anya::CircuitStats stats = breaker.read(now);
  EXPECT_EQ(stats.events.back().number, 150u);
  EXPECT_EQ(stats.events.size(), 32u);
}

TEST(Breaker, TellsWhatItWasDecidedBy) {
  Breaker breaker(small());
  calls(breaker, "gsfb", 7);
  const anya::CircuitStats stats = breaker.read(kSecond);
  EXPECT_EQ(stats.opens_in, 4 * kSecond + 7);
  const anya::CircuitEvent& event = stats.events.back();
  EXPECT_TRUE(event.to == CircuitState::kOpen);
  EXPECT_EQ(event.at, 7);
  EXPECT_EQ(event.calls, 4u);
  EXPECT_EQ(event.failed, 2u);
  EXPECT_EQ(event.slow, 2u);
}

TEST(Breaker, CountsOfManyThreadsAddUp) {
  const Watchdog watchdog("threads that call");
  BreakerOptions options = small();
  options.window = 1000;
  options.minimum_calls = 1000;
  Breaker breaker(options);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&breaker] {
      for (int i = 0; i < 20'000; ++i) call(breaker, i % 4 == 0 ? Call::kFailed : Call::kGood);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 1000; ++i) call(breaker, i % 4 == 0 ? Call::kFailed : Call::kGood);
  const anya::CircuitStats stats = breaker.read(0);
  EXPECT_TRUE(stats.state == CircuitState::kClosed);
  EXPECT_EQ(stats.calls, 1000u);
  EXPECT_EQ(stats.failed, 250u);
}

TEST(Breaker, StatesChangeUnderThreadsWithoutLosingAProbe) {
  const Watchdog watchdog("threads and states");
  Breaker breaker(small());
  std::atomic<Nanos> clock{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20'000; ++i) {
        const Nanos now = clock.fetch_add(kSecond / 50);
        if (breaker.refuses(now) != 0) continue;
        call(breaker, (i / 64 + t) % 3 == 0 ? Call::kFailed : Call::kGood, now);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  // Whatever has happened: once all is well it closes, within two rounds.
  Nanos now = clock.load() + 100 * kSecond;
  for (int round = 0; round < 4 && !breaker.closed(); ++round, now += 100 * kSecond) {
    for (int i = 0; i < 20 && breaker.refuses(now) == 0; ++i) call(breaker, Call::kGood, now);
  }
  EXPECT_TRUE(breaker.closed());
}
