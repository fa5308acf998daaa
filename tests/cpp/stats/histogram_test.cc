// SPDX-License-Identifier: Apache-2.0
#include "stats/histogram.h"

#include <limits>

#include "support/check.h"

using anya::bucket_of;
using anya::Histogram;
using anya::HistogramSnapshot;

TEST(Histogram, AnEdgeBelongsToTheBucketItCloses) {
  const std::array<std::uint64_t, 3> edges = {10, 20, 40};
  const struct {
    std::uint64_t value;
    std::size_t bucket;
  } table[] = {{0, 0},  {9, 0},  {10, 0},
               {11, 1}, {20, 1}, {21, 2},
               {40, 2}, {41, 3}, {std::numeric_limits<std::uint64_t>::max(), 3}};
  for (const auto& row : table) EXPECT_EQ(bucket_of(edges, row.value), row.bucket);
}

TEST(Histogram, AddsCountsAndSumToASnapshot) {
  Histogram<2> histogram;
  histogram.observe(0, 5);
  histogram.observe(2, 70);
  histogram.observe(2, 30);
  HistogramSnapshot out{{10, 20}, {1, 1, 1}, 0.5};
  histogram.add_to(out, 0.01);
  EXPECT_EQ(out.counts, (std::vector<std::uint64_t>{2, 1, 3}));
  EXPECT_GT(out.sum, 1.5499);
  EXPECT_LT(out.sum, 1.5501);
}
