// SPDX-License-Identifier: Apache-2.0
#include "stats/exemplar.h"

#include <atomic>
#include <thread>
#include <vector>

#include "support/chaos_atomic.h"
#include "support/check.h"

using anya::ExemplarSlot;

TEST(Exemplar, NothingIsSeenBeforeTheFirst) { EXPECT_TRUE(!ExemplarSlot<>().get().has_value()); }

TEST(Exemplar, TheLastOneIsSeen) {
  ExemplarSlot<> slot;
  slot.put({1, 2, 3});
  slot.put({4, 5, 6});
  const auto seen = slot.get();
  EXPECT_TRUE(seen && seen->trace_high == 4 && seen->trace_low == 5 && seen->value == 6);
}

// The three words of what is seen are always those of one put, whoever else writes.
TEST(Exemplar, NeverHalfOfOneAndHalfOfAnother) {
  ExemplarSlot<anya::test::ChaosAtomic> slot;
  std::atomic<bool> over{false};
  std::vector<std::thread> writers;
  for (std::uint64_t who = 1; who <= 2; ++who) {
    writers.emplace_back([&, who] {
      anya::test::seed_chaos(who);
      for (std::uint64_t i = who; !over.load(); i += 2) slot.put({i, i, i});
    });
  }
  std::uint64_t seen = 0;
  while (seen < 20'000) {
    const auto found = slot.get();
    if (!found) continue;
    ++seen;
    EXPECT_TRUE(found->trace_high == found->trace_low && found->trace_low == found->value);
  }
  over.store(true);
  for (std::thread& writer : writers) writer.join();
}
