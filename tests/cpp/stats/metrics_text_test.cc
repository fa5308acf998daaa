// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <string>
#include <vector>

#include "anya/metrics.h"
#include "stats/model_counters.h"
#include "support/check.h"

using anya::HistogramSnapshot;
using anya::MetricFamily;
using anya::MetricKind;
using anya::ModelStats;

namespace {

std::string text_of(const MetricFamily& family, bool openmetrics = false) {
  const std::vector<std::vector<MetricFamily>> parts = {{family}};
  return anya::metrics_text(parts, openmetrics);
}

}  // namespace

TEST(MetricsText, ACounterIsTotalInBothFormats) {
  const MetricFamily family{"hits", MetricKind::kCounter, "Of \"it\".\nAll.", {"who"}, {{{"me"}, 3}}, {}};
  EXPECT_EQ(text_of(family),
            "# HELP hits_total Of \"it\".\\nAll.\n# TYPE hits_total counter\nhits_total{who=\"me\"} 3\n");
  EXPECT_EQ(text_of(family, true),
            "# HELP hits Of \\\"it\\\".\\nAll.\n# TYPE hits counter\nhits_total{who=\"me\"} 3\n# EOF\n");
}

TEST(MetricsText, LabelValuesMayHoldAnything) {
  const MetricFamily family{"g", MetricKind::kGauge, "", {"a", "b"}, {{{"\\ \" \n", "}"}, 0.5}}, {}};
  EXPECT_EQ(text_of(family), "# HELP g \n# TYPE g gauge\ng{a=\"\\\\ \\\" \\n\",b=\"}\"} 0.5\n");
}

TEST(MetricsText, NumbersAreExactAndNoNumbersHaveNames) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  MetricFamily family{"g", MetricKind::kGauge, "", {}, {}, {}};
  for (const double each : {0.1, 1e15, 123456789.0, kInfinity, -kInfinity, std::numeric_limits<double>::quiet_NaN()}) {
    family.samples = {{{}, each}};
    const std::string text = text_of(family);
    const std::string shown = text.substr(text.rfind("\ng ") + 3);
    if (each == 0.1) EXPECT_EQ(shown, "0.1\n");
    if (each == 1e15) EXPECT_EQ(shown, "1e+15\n");
    if (each == 123456789.0) EXPECT_EQ(shown, "123456789\n");
    if (each == kInfinity) EXPECT_EQ(shown, "+Inf\n");
    if (each == -kInfinity) EXPECT_EQ(shown, "-Inf\n");
    if (each != each) EXPECT_EQ(shown, "NaN\n");
  }
}

TEST(MetricsText, BucketsAreCumulativeAndEndWithTheCount) {
  const HistogramSnapshot snapshot{{0.0001, 1.0}, {2, 3, 4}, 12.5};
  const MetricFamily family{"h", MetricKind::kHistogram, "x", {"m"}, {}, {{{"a"}, snapshot}}};
  EXPECT_EQ(text_of(family),
            "# HELP h x\n# TYPE h histogram\n"
            "h_bucket{m=\"a\",le=\"0.0001\"} 2\nh_bucket{m=\"a\",le=\"1.0\"} 5\nh_bucket{m=\"a\",le=\"+Inf\"} 9\n"
            "h_count{m=\"a\"} 9\nh_sum{m=\"a\"} 12.5\n");
}

TEST(MetricsText, AFamilyOfSeveralPartsIsOneAndASeriesIsThereOnce) {
  const MetricFamily one{"g", MetricKind::kGauge, "x", {"m"}, {{{"a"}, 1}}, {}};
  const MetricFamily two{"g", MetricKind::kGauge, "x", {"m"}, {{{"a"}, 2}, {{"b"}, 3}}, {}};
  const std::vector<std::vector<MetricFamily>> parts = {{one}, {two}};
  EXPECT_EQ(anya::metrics_text(parts, false), "# HELP g x\n# TYPE g gauge\ng{m=\"a\"} 3\ng{m=\"b\"} 3\n");
}

TEST(MetricFamilies, EqualVersionsAreSummed) {
  ModelStats one;
  anya::ModelCounters counters;
  counters.accepted(2);
  counters.ended(anya::ErrorCode::kOk, anya::Role::kStable, 1, 2, 3);
  counters.ended(anya::ErrorCode::kOverloaded, anya::Role::kCanary, 1, 0, 3);
  counters.read(one);
  one.name = "m";
  one.version = "1";
  const std::vector<ModelStats> twice = {one, one};
  for (const MetricFamily& family : anya::metric_families(twice)) {
    if (family.name == "anya_requests") {
      EXPECT_EQ(family.samples.size(), 10u);  // five outcomes, two roles that occur
      EXPECT_EQ(family.samples[0].second, 2.0);
      EXPECT_EQ(family.samples[8].second, 2.0);
      EXPECT_EQ(family.samples[8].first.back(), "canary");
    }
    if (family.name == "anya_request_duration_seconds") {
      EXPECT_EQ(family.histograms.size(), 1u);
      EXPECT_EQ(family.histograms[0].second.counts[0], 4u);
    }
  }
}
