// SPDX-License-Identifier: Apache-2.0
#include "sync/futex.h"

#include <csignal>
#include <thread>

#include <pthread.h>

#include "support/check.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::FutexResult;

namespace {
void nothing(int) {}
}  // namespace

TEST(Futex, DoesNotSleepOnAWordThatHasChanged) {
  const Watchdog watchdog("a word that has changed");
  const std::atomic<std::uint32_t> word{5};
  EXPECT_EQ(anya::futex_wait(anya::futex_word(word), 4, anya::kNever), FutexResult::kWoken);
}

TEST(Futex, EndsAtItsDeadline) {
  const Watchdog watchdog("a deadline");
  const std::atomic<std::uint32_t> word{5};
  const anya::SteadyClock clock;
  const anya::Nanos deadline = clock.now() + 2'000'000;
  while (anya::futex_wait(anya::futex_word(word), 5, deadline) != FutexResult::kTimedOut) {
  }
  EXPECT_GE(clock.now(), deadline);
  EXPECT_EQ(anya::futex_wait(anya::futex_word(word), 5, 1), FutexResult::kTimedOut);
  EXPECT_EQ(anya::futex_wait(anya::futex_word(word), 5, -1), FutexResult::kTimedOut);
}

TEST(Futex, WakesWhoWaits) {
  const Watchdog watchdog("a wake");
  std::atomic<std::uint32_t> word{0};
  std::thread waiter([&word] {
    while (word.load() == 0) anya::futex_wait(anya::futex_word(word), 0, anya::kNever);
  });
  word.store(1);
  anya::futex_wake(anya::futex_word(word), 1);
  waiter.join();
}

TEST(Futex, ASignalHandlerInterruptsIt) {
  const Watchdog watchdog("a signal");
  struct sigaction action{};
  action.sa_handler = nothing;
  struct sigaction before{};
  sigaction(SIGUSR1, &action, &before);
  const std::atomic<std::uint32_t> word{0};
  std::atomic<bool> interrupted{false};
  std::thread waiter([&] {
    while (anya::futex_wait(anya::futex_word(word), 0, anya::kNever) != FutexResult::kInterrupted) {
    }
    interrupted.store(true);
  });
  until([&] {
    pthread_kill(waiter.native_handle(), SIGUSR1);
    return interrupted.load();
  });
  waiter.join();
  sigaction(SIGUSR1, &before, nullptr);
  EXPECT_TRUE(interrupted.load());
}
