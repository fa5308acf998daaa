// SPDX-License-Identifier: Apache-2.0
#include "batching/slot_set.h"

#include <set>
#include <thread>
#include <vector>

#include "support/check.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::SlotSet;

TEST(SlotSet, GivesEachSlotOnce) {
  for (const std::size_t count : {std::size_t{1}, std::size_t{63}, std::size_t{64}, std::size_t{65}, SlotSet::kMax}) {
    SlotSet slots(count);
    std::set<std::size_t> taken;
    for (std::size_t i = 0; i < count; ++i) taken.insert(slots.take());
    EXPECT_EQ(taken.size(), count);
    EXPECT_EQ(*taken.rbegin(), count - 1);
  }
}

TEST(SlotSet, GivesBackWhatWasPut) {
  const Watchdog watchdog("a slot that was put back");
  SlotSet slots(130);
  for (int i = 0; i < 130; ++i) EXPECT_LT(slots.take(), 130u);
  slots.put(129);
  EXPECT_EQ(slots.take(), 129u);
  slots.put(64);
  EXPECT_EQ(slots.take(), 64u);
}

// As many threads as slots: no slot is ever held twice, and each holder sees what the last one left there.
TEST(SlotSet, NoSlotHasTwoHolders) {
  const Watchdog watchdog("slots and threads");
  constexpr std::size_t kSlots = 3;
  SlotSet slots(kSlots);
  std::vector<int> left(kSlots);  // not atomic: take and put must order its users
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kSlots; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) {
        const std::size_t slot = slots.take();
        ++left[slot];
        slots.put(slot);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(left[0] + left[1] + left[2], static_cast<int>(kSlots) * 20'000);
}
