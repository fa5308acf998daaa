// SPDX-License-Identifier: Apache-2.0
#include "batching/queue_delay.h"

#include <vector>

#include "support/check.h"

using namespace anya::test;
using anya::kNever;
using anya::Nanos;
using anya::QueueDelay;

namespace {

// A target of 20 and an interval of 100.
QueueDelay fed(const std::vector<std::pair<Nanos, Nanos>>& waits) {
  QueueDelay delay(20, 100);
  for (const auto& [now, waited] : waits) delay.observe(now, waited);
  return delay;
}

}  // namespace

TEST(QueueDelay, OverloadIsAWholeIntervalWithoutAShortWait) {
  const struct {
    const char* fact;
    std::vector<std::pair<Nanos, Nanos>> waits;  // when, and how long
    bool overloaded;
  } table[] = {
      {"nothing seen", {}, false},
      {"one long wait", {{0, 500}}, false},
      {"long waits, but not for an interval", {{0, 500}, {50, 500}, {99, 500}}, false},
      {"for an interval", {{0, 500}, {50, 500}, {100, 500}}, true},
      {"the target itself is no overload", {{0, 20}, {100, 20}}, false},
      {"just above", {{0, 21}, {100, 21}}, true},
      {"a burst: one of them waited little", {{0, 500}, {60, 5}, {100, 500}}, false},
      {"the next interval", {{0, 500}, {60, 5}, {100, 500}, {150, 500}, {200, 500}}, true},
      {"it lasts while the waits are above half the target", {{0, 500}, {100, 500}, {150, 15}, {200, 19}}, true},
      {"and ends below it", {{0, 500}, {100, 500}, {150, 10}, {200, 19}}, false},
  };
  for (const auto& row : table) {
    if (!EXPECT_EQ(fed(row.waits).overloaded(), row.overloaded)) std::fprintf(stderr, "  fact: %s\n", row.fact);
  }
}

TEST(QueueDelay, AnEmptyQueueIsNeverOverloadedAndBeginsAnew) {
  QueueDelay delay = fed({{0, 500}, {100, 500}});
  EXPECT_TRUE(delay.overloaded());
  delay.idle();
  EXPECT_FALSE(delay.overloaded());
  delay.observe(500, 500);  // the first of a new interval
  EXPECT_FALSE(delay.overloaded());
  delay.observe(599, 500);
  EXPECT_FALSE(delay.overloaded());
  delay.observe(600, 500);
  EXPECT_TRUE(delay.overloaded());
}

TEST(QueueDelay, WithoutATargetThereIsNoOverload) {
  QueueDelay delay(0, 100);
  for (Nanos now = 0; now < 1000; now += 10) delay.observe(now, 1'000'000);
  EXPECT_FALSE(delay.overloaded());
}
