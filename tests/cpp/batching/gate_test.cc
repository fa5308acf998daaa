// SPDX-License-Identifier: Apache-2.0
#include "batching/gate.h"

#include <thread>
#include <vector>

#include "support/check.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::Gate;

namespace {

// The whole word of a gate, as a line of a table.
struct Word {
  std::uint32_t waiting, free;
  bool closed = false, lingering = false;
  friend bool operator==(const Word&, const Word&) = default;
};
Word word(const Gate& gate) {
  const Gate::View view = gate.view();
  return {view.waiting(), view.free(), view.closed(), view.lingering()};
}

}  // namespace

TEST(Gate, StartsOpenWithAllItsInstancesFree) { EXPECT_TRUE((word(Gate(3)) == Word{0, 3})); }

TEST(Gate, ACallerEntersOnlyWhileNobodyWaits) {
  Gate gate(2);
  Gate::View seen(0);
  EXPECT_TRUE(gate.try_enter_idle());
  EXPECT_TRUE((word(gate) == Word{0, 1}));
  EXPECT_EQ(gate.book(1, 8, seen), 1u);
  EXPECT_FALSE(gate.try_enter_idle());  // an instance is free, but somebody was here first
  EXPECT_TRUE((word(gate) == Word{1, 1}));
  gate.leave(1);
  EXPECT_TRUE(gate.try_enter_idle());
  EXPECT_FALSE(gate.try_enter_idle());  // none is free
  EXPECT_TRUE((word(gate) == Word{0, 0}));
}

TEST(Gate, AWorkerTakesWhateverIsFree) {
  Gate gate(1);
  Gate::View seen(0);
  EXPECT_EQ(gate.book(2, 8, seen), 2u);
  EXPECT_TRUE(gate.try_take());
  EXPECT_TRUE((word(gate) == Word{2, 0}));
  EXPECT_FALSE(gate.try_take());
  gate.close();
  gate.leave(2);
  EXPECT_EQ(gate.release().free(), 1u);
  EXPECT_TRUE(gate.try_take());  // what was accepted is still run after the door is shut
}

TEST(Gate, ReleaseTellsWhatStoodThere) {
  Gate gate(1);
  Gate::View seen(0);
  EXPECT_TRUE(gate.try_take());
  EXPECT_EQ(gate.book(3, 8, seen), 3u);
  gate.close();
  const Gate::View after = gate.release();
  EXPECT_EQ(after.waiting(), 3u);
  EXPECT_EQ(after.free(), 1u);
  EXPECT_TRUE(after.closed());
}

TEST(Gate, BooksNoMoreThanTheLimit) {
  const struct {
    std::uint32_t waiting, count, limit, booked;
  } table[] = {{0, 1, 4, 1}, {0, 4, 4, 4}, {0, 5, 4, 4}, {3, 1, 4, 1}, {3, 2, 4, 1},
               {4, 1, 4, 0}, {4, 0, 4, 0}, {0, 0, 4, 0}, {5, 1, 4, 0}, {0, 1, 0, 0}};
  for (const auto& row : table) {
    Gate gate(1);
    Gate::View seen(0);
    EXPECT_EQ(gate.book(row.waiting, 100, seen), row.waiting);
    EXPECT_EQ(gate.book(row.count, row.limit, seen), row.booked);
    EXPECT_EQ(seen.waiting(), row.waiting);  // what stood there before
    EXPECT_TRUE((word(gate) == Word{row.waiting + row.booked, 1}));
  }
}

TEST(Gate, AShutDoorLetsNobodyInButKeepsTheOthers) {
  Gate gate(2);
  Gate::View seen(0);
  EXPECT_EQ(gate.book(2, 8, seen), 2u);
  gate.close();
  gate.close();
  EXPECT_FALSE(gate.try_enter_idle());
  EXPECT_EQ(gate.book(1, 8, seen), 0u);
  EXPECT_TRUE(seen.closed());
  EXPECT_TRUE((word(gate) == Word{2, 2, true}));
  gate.leave(2);
  EXPECT_FALSE(gate.try_enter_idle());
  EXPECT_TRUE((word(gate) == Word{0, 2, true}));
}

TEST(Gate, LingeringIsABitOfItsOwn) {
  Gate gate(1);
  Gate::View seen(0);
  EXPECT_EQ(gate.book(1, 8, seen), 1u);
  gate.set_lingering();
  EXPECT_TRUE((word(gate) == Word{1, 1, false, true}));
  EXPECT_EQ(gate.book(1, 8, seen), 1u);
  EXPECT_TRUE(seen.lingering());
  gate.leave(2);
  EXPECT_TRUE(gate.try_enter_idle());
  EXPECT_TRUE((word(gate) == Word{0, 0, false, true}));
  gate.clear_lingering();
  EXPECT_TRUE((word(gate) == Word{0, 0}));
}

// Threads enter, book, leave and release at random: the limit and the number of instances hold at every moment, and in
// the end the word is what it was.
TEST(Gate, ManyThreadsNeverExceedTheLimits) {
  const Watchdog watchdog("a gate and many threads");
  constexpr std::uint32_t kInstances = 2;
  constexpr std::uint32_t kLimit = 5;
  Gate gate(kInstances);
  std::atomic<int> inside{0};
  std::atomic<int> broken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20'000; ++i) {
        if ((i + t) % 2 == 0 ? gate.try_enter_idle() : gate.try_take()) {
          if (inside.fetch_add(1) >= static_cast<int>(kInstances)) broken.fetch_add(1);
          inside.fetch_sub(1);
          if (gate.release().free() > kInstances) broken.fetch_add(1);
        }
        Gate::View seen(0);
        const std::uint32_t booked = gate.book(3, kLimit, seen);
        if (booked > 3 || seen.waiting() > kLimit || gate.view().waiting() > kLimit) broken.fetch_add(1);
        gate.leave(booked);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(broken.load(), 0);
  EXPECT_TRUE((word(gate) == Word{0, kInstances}));
}
