// SPDX-License-Identifier: Apache-2.0
#include "sync/event_count.h"

#include <thread>
#include <vector>

#include "support/check.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::EventCount;

TEST(EventCount, ANotificationAfterPrepareEndsTheWaitAtOnce) {
  const Watchdog watchdog("a wait that was notified before it began", std::chrono::seconds(20));
  EventCount event;
  const EventCount::Key key = event.prepare_wait();
  event.notify(1);
  event.wait(key);
  const EventCount::Key second = event.prepare_wait();
  event.notify_all();
  event.wait(second);
}

TEST(EventCount, ANotificationBeforePrepareDoesNotEndTheWait) {
  EventCount event;
  event.notify(1);
  const anya::SteadyClock clock;
  const anya::Nanos deadline = clock.now() + 2'000'000;
  const EventCount::Key key = event.prepare_wait();
  event.wait(key, deadline);
  EXPECT_GE(clock.now(), deadline);
}

TEST(EventCount, EndsAtItsDeadlineEvenInThePast) {
  const Watchdog watchdog("a deadline");
  EventCount event;
  for (const anya::Nanos deadline : {anya::Nanos{0}, anya::Nanos{1}, anya::SteadyClock().now() + 1'000'000}) {
    const EventCount::Key key = event.prepare_wait();
    event.wait(key, deadline);
    EXPECT_GE(anya::SteadyClock().now(), deadline);
  }
}

TEST(EventCount, AnnounceSaysWhetherSomebodyWaits) {
  EventCount event;
  EXPECT_FALSE(event.announce());
  const EventCount::Key key = event.prepare_wait();
  EXPECT_TRUE(event.announce());
  event.cancel_wait();
  EXPECT_FALSE(event.announce());
  const EventCount::Key second = event.prepare_wait();
  EXPECT_NE(key, second);
  event.wait(second, 0);
  EXPECT_FALSE(event.announce());
}

// Two threads hand a token to and fro; one lost wake-up would leave both asleep.
TEST(EventCount, PingPongLosesNoWakeUp) {
  const Watchdog watchdog("ping-pong over two event counts");
  constexpr int kRounds = 50'000;
  EventCount ping;
  EventCount pong;
  std::atomic<int> turn{0};
  const auto await = [&turn](EventCount& event, int wanted) {
    while (turn.load(std::memory_order_seq_cst) != wanted) {
      const EventCount::Key key = event.prepare_wait();
      if (turn.load(std::memory_order_seq_cst) == wanted) {
        event.cancel_wait();
        return;
      }
      event.wait(key);
    }
  };
  std::thread other([&] {
    for (int round = 0; round < kRounds; ++round) {
      await(ping, 2 * round + 1);
      turn.store(2 * round + 2, std::memory_order_seq_cst);
      pong.notify(1);
    }
  });
  for (int round = 0; round < kRounds; ++round) {
    turn.store(2 * round + 1, std::memory_order_seq_cst);
    ping.notify(1);
    await(pong, 2 * round + 2);
  }
  other.join();
  EXPECT_EQ(turn.load(), 2 * kRounds);
}

// Several sleepers share one counter of work; every unit wakes somebody, and the end wakes all.
TEST(EventCount, ManySleepersLoseNoWakeUp) {
  const Watchdog watchdog("many sleepers");
  constexpr int kSleepers = 4;
  constexpr int kUnits = 30'000;
  EventCount event;
  EventCount taken_event;
  std::atomic<int> work{0};
  std::atomic<int> taken{0};
  std::atomic<bool> stop{false};
  const auto take = [&work] {
    int seen = work.load(std::memory_order_seq_cst);
    while (seen > 0) {
      if (work.compare_exchange_weak(seen, seen - 1, std::memory_order_seq_cst)) return true;
    }
    return false;
  };
  std::vector<std::thread> sleepers;
  for (int i = 0; i < kSleepers; ++i) {
    sleepers.emplace_back([&] {
      for (;;) {
        const EventCount::Key key = event.prepare_wait();
        if (take()) {
          event.cancel_wait();
          taken.fetch_add(1, std::memory_order_seq_cst);
          taken_event.notify(1);
        } else if (stop.load(std::memory_order_seq_cst)) {
          event.cancel_wait();
          return;
        } else {
          event.wait(key);
        }
      }
    });
  }
  for (int unit = 1; unit <= kUnits; ++unit) {
    work.fetch_add(1, std::memory_order_seq_cst);
    event.notify(1);
    if (unit % 3 != 0) continue;  // now and then everybody gets to sleep
    while (taken.load(std::memory_order_seq_cst) < unit) {
      const EventCount::Key key = taken_event.prepare_wait();
      if (taken.load(std::memory_order_seq_cst) >= unit) {
        taken_event.cancel_wait();
      } else {
        taken_event.wait(key);
      }
    }
  }
  stop.store(true, std::memory_order_seq_cst);
  event.notify_all();
  for (std::thread& sleeper : sleepers) sleeper.join();
  EXPECT_EQ(taken.load(), kUnits);
}
