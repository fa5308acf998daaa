// SPDX-License-Identifier: Apache-2.0
#include "batching/row_limit.h"

#include "support/check.h"

using namespace anya::test;
using anya::RowLimit;

TEST(RowLimit, HalvesWhatDidNotFitAndGrowsAgainWhenThatFits) {
  RowLimit limit(64);
  EXPECT_EQ(limit.now(), 64);
  limit.ran_out(64);
  EXPECT_EQ(limit.now(), 32);
  limit.ran_out(64);  // a run that was under way already
  EXPECT_EQ(limit.now(), 32);
  limit.ran_out(9);
  EXPECT_EQ(limit.now(), 4);
  for (int i = 0; i < 1000; ++i) limit.fitted(2);  // says nothing of more than four
  EXPECT_EQ(limit.now(), 4);
  for (int i = 0; i < 63; ++i) limit.fitted(4);
  EXPECT_EQ(limit.now(), 4);
  limit.fitted(4);
  EXPECT_EQ(limit.now(), 8);
  for (int i = 0; i < 64 * 3; ++i) limit.fitted(limit.now());
  EXPECT_EQ(limit.now(), 64);
  for (int i = 0; i < 200; ++i) limit.fitted(64);
  EXPECT_EQ(limit.now(), 64);
}

TEST(RowLimit, OneRowIsTheLeast) {
  RowLimit limit(8);
  for (int i = 0; i < 5; ++i) limit.ran_out(1);
  EXPECT_EQ(limit.now(), 1);
  for (int i = 0; i < 64 * 3; ++i) limit.fitted(limit.now());
  EXPECT_EQ(limit.now(), 8);
}
