// SPDX-License-Identifier: Apache-2.0
//
// Metrics as data, and as the text that Prometheus reads. One table makes the families, whoever shows them.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anya/stats.h"

namespace anya {

enum class MetricKind : std::uint8_t { kCounter, kGauge, kHistogram };
std::string_view kind_name(MetricKind kind) noexcept;  // "counter" and so on: the words of the text format

// How series with equal labels, of engines or processes side by side, become one. Counters and histograms: the sum.
enum class Merge : std::uint8_t { kSum, kMax, kMin };
std::string_view merge_name(Merge merge) noexcept;  // "sum" and so on

// All series of one name. Plain data; not thread-safe.
struct MetricFamily {
  std::string name;  // of a counter without its _total
  MetricKind kind = MetricKind::kGauge;
  std::string help;
  std::vector<std::string> label_names;
  // By label values, one for each label name. A histogram's are in `histograms`, everything else in `samples`.
  std::vector<std::pair<std::vector<std::string>, double>> samples;
  std::vector<std::pair<std::vector<std::string>, HistogramSnapshot>> histograms;
  Merge merge = Merge::kSum;
};

// The families of what the engine counts, each there from the first model on, each series once. Thread-safe.
std::vector<MetricFamily> metric_families(std::span<const ModelStats> models);

// Those of them that the counters in somebody's memory (CounterMemory) do not hold; and the exemplars of the others, on
// histograms that have counted nothing. Thread-safe.
std::vector<MetricFamily> families_beside_counters(std::span<const ModelStats> models);

// One of each name, each series once: equal ones are merged. Order is that of their first appearance. REQUIRES: a
// family has every series once. Thread-safe.
std::vector<MetricFamily> merge_families(std::span<const std::vector<MetricFamily>> parts);

// Prometheus' text format 0.0.4, or OpenMetrics 1.0 with exemplars and `# EOF`, of the parts merged. Label values may
// hold anything. Thread-safe.
std::string metrics_text(std::span<const std::vector<MetricFamily>> parts, bool openmetrics);

}  // namespace anya
