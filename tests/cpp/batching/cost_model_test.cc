// SPDX-License-Identifier: Apache-2.0
#include "batching/cost_model.h"

#include "support/check.h"

using anya::CostModel;
using anya::Nanos;

TEST(CostModel, KnowsNothingAtFirst) {
  const CostModel cost;
  for (const std::int64_t rows : {0, 1, 7, 64, 1'000'000}) EXPECT_EQ(cost.predict(rows), 0);
  EXPECT_EQ(cost.rows_within(1'000'000), 1);
}

TEST(CostModel, OneAveragePerPowerOfTwo) {
  CostModel cost;
  cost.observe(4, 1000);
  EXPECT_EQ(cost.predict(3), 1000);
  EXPECT_EQ(cost.predict(4), 1000);
  EXPECT_EQ(cost.predict(2), 0);  // nothing is said of smaller runs
  cost.observe(2, 600);
  EXPECT_EQ(cost.predict(2), 600);
  EXPECT_EQ(cost.predict(1), 0);
  EXPECT_EQ(cost.predict(4), 1000);
}

TEST(CostModel, ALargerRunIsTakenToCostInProportion) {
  CostModel cost;
  cost.observe(4, 1000);
  const struct {
    std::int64_t rows;
    Nanos predicted;
  } table[] = {{5, 2000}, {8, 2000}, {9, 4000}, {16, 4000}, {64, 16'000}};
  for (const auto& row : table) EXPECT_EQ(cost.predict(row.rows), row.predicted);
}

TEST(CostModel, FollowsASteadyChange) {
  CostModel cost;
  cost.observe(1, 1000);
  for (int i = 0; i < 100; ++i) cost.observe(1, 2000);
  EXPECT_GT(cost.predict(1), 1980);
  EXPECT_LE(cost.predict(1), 2000);
  for (int i = 0; i < 100; ++i) cost.observe(1, 500);
  EXPECT_LT(cost.predict(1), 520);
  EXPECT_GE(cost.predict(1), 500);
}

TEST(CostModel, OneRunHeldUpHardlyCounts) {
  CostModel cost;
  cost.observe(1, 1000);
  cost.observe(1, 1'000'000'000);
  EXPECT_GT(cost.predict(1), 1000);
  EXPECT_LT(cost.predict(1), 1500);
  cost.observe(1, 1000);
  EXPECT_LT(cost.predict(1), 1200);  // down faster than up
}

TEST(CostModel, RowsWithinATime) {
  CostModel cost;
  cost.observe(1, 10'000);
  cost.observe(8, 30'000);
  const struct {
    Nanos time;
    std::int64_t rows;
  } table[] = {{5'000, 1},     // not even one row, but one row there must be
               {10'000, 1},    // less than, not as long as
               {20'001, 2},    // two rows: twice the cost of one
               {30'001, 2},    // four rows are bounded by 40,000
               {50'000, 8},    // eight were measured, and cost less than the bound for four
               {60'001, 16}};  // sixteen: twice eight
  for (const auto& row : table) EXPECT_EQ(cost.rows_within(row.time), row.rows);
}

TEST(CostModel, HugeRunsShareTheLastAverage) {
  CostModel cost;
  cost.observe(std::int64_t{1} << 40, 5000);
  EXPECT_EQ(cost.predict(std::int64_t{1} << 50), 5000);
  EXPECT_EQ(cost.rows_within(6000), std::int64_t{1} << 20);
}
