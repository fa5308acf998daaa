// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>
#include <vector>

#include "anya/metrics.h"
#include "support/check.h"

using anya::HistogramSnapshot;
using anya::Merge;
using anya::MetricFamily;
using anya::MetricKind;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double merged(Merge how, double a, double b) {
  const MetricFamily one{"g", MetricKind::kGauge, "", {"m"}, {{{"x"}, a}}, {}, how};
  const MetricFamily two{"g", MetricKind::kGauge, "", {"m"}, {{{"x"}, b}}, {}, how};
  const std::vector<std::vector<MetricFamily>> parts = {{one}, {two}};
  const std::vector<MetricFamily> families = anya::merge_families(parts);
  EXPECT_EQ(families.size(), 1u);
  EXPECT_EQ(families[0].samples.size(), 1u);
  EXPECT_TRUE(families[0].merge == how);
  return families[0].samples[0].second;
}

}  // namespace

TEST(MergeFamilies, GaugesBecomeTheirSumTheLargestOrTheLeast) {
  EXPECT_EQ(merged(Merge::kSum, 2, 3), 5.0);
  EXPECT_EQ(merged(Merge::kMax, 2, 3), 3.0);
  EXPECT_EQ(merged(Merge::kMax, 3, 2), 3.0);
  EXPECT_EQ(merged(Merge::kMin, 2, 3), 2.0);
  EXPECT_EQ(merged(Merge::kMin, 3, 2), 2.0);
}

TEST(MergeFamilies, WhatIsNoNumberSaysNothing) {
  for (const Merge how : {Merge::kSum, Merge::kMax, Merge::kMin}) {
    EXPECT_EQ(merged(how, kNaN, 3), 3.0);
    EXPECT_EQ(merged(how, 3, kNaN), 3.0);
    EXPECT_TRUE(std::isnan(merged(how, kNaN, kNaN)));
  }
}

TEST(MergeFamilies, HistogramsAreSummedAndKeepTheirExemplars) {
  const HistogramSnapshot counts{{1.0}, {2, 3}, 4.5};
  const HistogramSnapshot nothing{{1.0}, {0, 0}, 0.0, {{1, "trace", 7.0}}};
  const MetricFamily one{"h", MetricKind::kHistogram, "", {}, {}, {{{}, counts}}};
  const MetricFamily two{"h", MetricKind::kHistogram, "", {}, {}, {{{}, nothing}}};
  const std::vector<std::vector<MetricFamily>> parts = {{one}, {two}, {one}};
  const std::vector<MetricFamily> families = anya::merge_families(parts);
  EXPECT_EQ(families[0].histograms.size(), 1u);
  const HistogramSnapshot& sum = families[0].histograms[0].second;
  EXPECT_EQ(sum.counts[0], 4u);
  EXPECT_EQ(sum.counts[1], 6u);
  EXPECT_EQ(sum.sum, 9.0);
  EXPECT_EQ(sum.exemplars.size(), 1u);
}

TEST(MergeFamilies, LabelsThatOnlyLookAlikeStayApart) {
  const MetricFamily one{"c", MetricKind::kCounter, "", {"a", "b"}, {{{"x", "yz"}, 1}}, {}};
  const MetricFamily two{"c", MetricKind::kCounter, "", {"a", "b"}, {{{"xy", "z"}, 2}}, {}};
  const std::vector<std::vector<MetricFamily>> parts = {{one}, {two}};
  EXPECT_EQ(anya::merge_families(parts)[0].samples.size(), 2u);
}

TEST(MergeFamilies, WhatCountersHoldAndWhatIsBesideThemIsEverything) {
  anya::ModelStats stats;
  stats.name = "m";
  stats.cache.capacity_bytes = 1;
  const std::vector<anya::ModelStats> one = {stats};
  const std::vector<MetricFamily> all = anya::metric_families(one);
  std::size_t beside = 0;
  for (const MetricFamily& each : anya::families_beside_counters(one)) {
    bool is_there = false;
    for (const MetricFamily& other : all) is_there |= other.name == each.name;
    EXPECT_TRUE(is_there);
    beside += each.name.starts_with("anya_cache_");
  }
  EXPECT_EQ(beside, 3u);
}
