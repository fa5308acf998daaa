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

TEST(CostModel, BatchesPayAsFarAsARowGetsCheaper) {
  CostModel cost;
  EXPECT_EQ(cost.paying_rows(), INT64_MAX);
  cost.seed(1, 1000);
  cost.seed(2, 1100);
  EXPECT_EQ(cost.paying_rows(), INT64_MAX);  // two were cheaper than one; nothing larger is known
  cost.seed(4, 2200);
  EXPECT_EQ(cost.paying_rows(), 2);  // a row costs the same in four
  cost.seed(16, 3200);
  EXPECT_EQ(cost.paying_rows(), INT64_MAX);  // and a third in sixteen
  cost.seed(64, 64'000);
  EXPECT_EQ(cost.paying_rows(), 16);
}

TEST(CostModel, ASizeIsNotSaidNotToPayBeforeItWasSeenOften) {
  CostModel cost;
  cost.seed(2, 1000);
  for (int i = 0; i < 7; ++i) {
    cost.observe(4, 2000);
    EXPECT_EQ(cost.paying_rows(), INT64_MAX);
  }
  cost.observe(4, 2000);
  EXPECT_EQ(cost.paying_rows(), 2);
}

TEST(CostModel, HalvesAreAsGoodWithinTenPercent) {
  const struct {
    Nanos half, whole;
    bool good;
  } table[] = {{4000, 8000, true}, {4400, 8000, true}, {4408, 8000, false}, {3000, 8000, true}, {4000, 4000, false}};
  for (const auto& row : table) {
    CostModel cost;
    EXPECT_FALSE(cost.half_is_as_good(8));
    cost.seed(8, row.whole);
    EXPECT_FALSE(cost.half_is_as_good(8));
    cost.seed(4, row.half);
    EXPECT_EQ(cost.half_is_as_good(8), row.good);
    EXPECT_FALSE(cost.half_is_as_good(1));
  }
}
