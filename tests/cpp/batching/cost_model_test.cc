// SPDX-License-Identifier: Apache-2.0
#include "batching/cost_model.h"

#include "support/check.h"

using anya::CostModel;
using anya::Nanos;
using anya::RowCosts;
using anya::RunTime;

TEST(RowCosts, KnowsNothingAtFirst) {
  const RowCosts cost;
  for (const std::int64_t rows : {0, 1, 7, 64, 1'000'000}) EXPECT_EQ(cost.predict(rows), 0);
  EXPECT_EQ(cost.rows_within(1'000'000), 1);
}

TEST(RowCosts, OneAveragePerPowerOfTwo) {
  RowCosts cost;
  cost.observe(4, 1000);
  EXPECT_EQ(cost.predict(3), 1000);
  EXPECT_EQ(cost.predict(4), 1000);
  EXPECT_EQ(cost.predict(2), 0);  // nothing is said of smaller runs
  cost.observe(2, 600);
  EXPECT_EQ(cost.predict(2), 600);
  EXPECT_EQ(cost.predict(1), 0);
  EXPECT_EQ(cost.predict(4), 1000);
}

TEST(RowCosts, ALargerRunIsTakenToCostInProportion) {
  RowCosts cost;
  cost.observe(4, 1000);
  const struct {
    std::int64_t rows;
    Nanos predicted;
  } table[] = {{5, 2000}, {8, 2000}, {9, 4000}, {16, 4000}, {64, 16'000}};
  for (const auto& row : table) EXPECT_EQ(cost.predict(row.rows), row.predicted);
}

TEST(RowCosts, FollowsASteadyChange) {
  RowCosts cost;
  cost.observe(1, 1000);
  for (int i = 0; i < 100; ++i) cost.observe(1, 2000);
  EXPECT_GT(cost.predict(1), 1980);
  EXPECT_LE(cost.predict(1), 2000);
  for (int i = 0; i < 100; ++i) cost.observe(1, 500);
  EXPECT_LT(cost.predict(1), 520);
  EXPECT_GE(cost.predict(1), 500);
}

TEST(RowCosts, OneRunHeldUpHardlyCounts) {
  RowCosts cost;
  cost.observe(1, 1000);
  cost.observe(1, 1'000'000'000);
  EXPECT_GT(cost.predict(1), 1000);
  EXPECT_LT(cost.predict(1), 1500);
  cost.observe(1, 1000);
  EXPECT_LT(cost.predict(1), 1200);  // down faster than up
}

TEST(RowCosts, RowsWithinATime) {
  RowCosts cost;
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

TEST(RowCosts, HugeRunsShareTheLastAverage) {
  RowCosts cost;
  cost.observe(std::int64_t{1} << 40, 5000);
  EXPECT_EQ(cost.predict(std::int64_t{1} << 50), 5000);
  EXPECT_EQ(cost.rows_within(6000), std::int64_t{1} << 20);
}

TEST(RowCosts, BatchesPayAsFarAsARowGetsCheaper) {
  RowCosts cost;
  EXPECT_EQ(cost.paying_rows(), INT64_MAX);  // nothing was measured
  cost.seed(1, 1000);
  cost.seed(2, 1100);
  EXPECT_EQ(cost.paying_rows(), 4);  // two were cheaper than one, so a step more
  cost.seed(4, 2200);
  EXPECT_EQ(cost.paying_rows(), 2);  // a row costs the same in four
  cost.seed(16, 3200);
  EXPECT_EQ(cost.paying_rows(), 32);  // and a third in sixteen
  cost.seed(64, 64'000);
  EXPECT_EQ(cost.paying_rows(), 16);
}

TEST(RowCosts, SizesGrowFromTheSmallestAsTheyAreSeen) {
  RowCosts cost;
  cost.grow();
  for (const std::int64_t rows : {1, 2, 4, 8}) {
    for (int i = 0; i < 8; ++i) {
      EXPECT_EQ(cost.paying_rows(), rows);
      cost.observe(rows, 1000 + rows);
    }
  }
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(cost.paying_rows(), 16);
    cost.observe(16, 3000);
  }
  EXPECT_EQ(cost.paying_rows(), 8);  // a row of sixteen costs half as much again as one of eight
}

TEST(RowCosts, WhatARunCostsBesidesCountsForTheSmallOnes) {
  RowCosts cost;
  cost.seed(4, 4000);
  cost.seed(8, 8000);
  cost.seed(16, 16'000);
  EXPECT_EQ(cost.paying_rows(0), 4);
  EXPECT_EQ(cost.paying_rows(400), 8);  // a row of four costs 1100, of eight 1050, of sixteen 1025
  EXPECT_TRUE(cost.half_is_as_good(8, 400));
  EXPECT_FALSE(cost.half_is_as_good(8, 1600));  // 1400 and 1200
}

TEST(RowCosts, ShortRunsNeedNoProof) {
  RowCosts cost;
  cost.grow();
  EXPECT_EQ(cost.paying_rows(0, 50'000), 1);  // nothing is known
  cost.observe(1, 5'000);
  EXPECT_EQ(cost.paying_rows(0, 50'000), 8);  // 40 us at most
  cost.observe(8, 20'000);
  EXPECT_EQ(cost.paying_rows(0, 50'000), 16);
  cost.seed(1, 5'000);
  cost.seed(8, 40'000);
  cost.seed(16, 160'000);
  EXPECT_EQ(cost.paying_rows(0, 50'000), 8);  // larger ones are known not to pay
}

TEST(RowCosts, ASizeIsNotSaidNotToPayBeforeItWasSeenOften) {
  RowCosts cost;
  cost.seed(2, 1000);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(cost.paying_rows(), 4);
    cost.observe(4, 2000);
  }
  EXPECT_EQ(cost.paying_rows(), 2);
}

TEST(RowCosts, HalvesAreAsGoodWithinTenPercent) {
  const struct {
    Nanos half, whole;
    bool good;
  } table[] = {{4000, 8000, true}, {4400, 8000, true}, {4408, 8000, false}, {3000, 8000, true}, {4000, 4000, false}};
  for (const auto& row : table) {
    RowCosts cost;
    EXPECT_FALSE(cost.half_is_as_good(8));
    cost.seed(8, row.whole);
    EXPECT_FALSE(cost.half_is_as_good(8));
    cost.seed(4, row.half);
    EXPECT_EQ(cost.half_is_as_good(8), row.good);
    EXPECT_FALSE(cost.half_is_as_good(1));
  }
}

TEST(RowCosts, ResetForgets) {
  RowCosts cost;
  cost.seed(2, 1000);
  cost.seed(4, 2000);
  cost.reset();
  EXPECT_EQ(cost.predict(4), 0);
  EXPECT_EQ(cost.paying_rows(), 1);
  EXPECT_FALSE(cost.half_is_as_good(4));
}

TEST(CostModel, AClassHoldsRowsThatDifferByAQuarterAtMost) {
  std::uint16_t last = 0;
  for (std::uint64_t bytes = 1; bytes < 100'000; ++bytes) {
    const std::uint16_t at = CostModel::class_of(bytes);
    EXPECT_TRUE(at >= 1 && at >= last && at < CostModel::kClasses);
    last = at;
    const auto least = static_cast<std::uint64_t>(CostModel::row_bytes(at));
    EXPECT_EQ(CostModel::class_of(least), at);
    if (!EXPECT_TRUE(least <= bytes && bytes - least <= least / 4)) return;
  }
  EXPECT_EQ(CostModel::class_of(UINT64_MAX), CostModel::kClasses - 1);
  EXPECT_EQ(CostModel::class_of(0), 1);
}

TEST(CostModel, WhatOneClassLearnsIsNotSaidOfAnother) {
  CostModel cost(/*one_shape=*/false);
  cost.of(CostModel::class_of(64)).seed(4, 4000);
  cost.of(CostModel::class_of(512)).seed(4, 64'000);
  EXPECT_EQ(cost.of(CostModel::class_of(64)).predict(4), 4000);
  EXPECT_EQ(cost.of(CostModel::class_of(512)).predict(4), 64'000);
  EXPECT_EQ(cost.of(CostModel::class_of(200)).predict(4), 0);
  const std::vector<RunTime> known = cost.read();
  EXPECT_EQ(known.size(), 2u);
  EXPECT_EQ(known[0].row_bytes, 64);
  EXPECT_EQ(known[1].row_bytes, 512);
  EXPECT_EQ(known[1].rows, 4);
  EXPECT_EQ(known[1].seconds, 64'000 * 1e-9);
  EXPECT_EQ(known[1].seconds_per_row, 16'000 * 1e-9);
  cost.reset();
  EXPECT_TRUE(cost.read().empty());
}
