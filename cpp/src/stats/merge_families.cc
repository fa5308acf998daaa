// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "anya/metrics.h"

namespace anya {
namespace {

using Labels = std::vector<std::string>;

// What is no number says nothing: the other one counts.
double merged(Merge how, double a, double b) {
  if (std::isnan(a)) return b;
  if (std::isnan(b)) return a;
  switch (how) {
    case Merge::kMax:
      return std::max(a, b);
    case Merge::kMin:
      return std::min(a, b);
    case Merge::kSum:
      break;
  }
  return a + b;
}

// One string for each list of labels: the sizes keep {"a", "bc"} and {"ab", "c"} apart.
std::string key_of(const Labels& labels) {
  std::string key;
  for (const std::string& each : labels) {
    key += std::to_string(each.size());
    key += ':';
    key += each;
  }
  return key;
}

// A family in the making, and where its series are.
struct Joined {
  MetricFamily family;
  std::unordered_map<std::string, std::size_t> at;

  void begin(const MetricFamily& with) {
    family = {with.name, with.kind, with.help, with.label_names, {}, {}, with.merge};
    add(with);
  }

  template <typename Value, typename Merging>
  void add(std::vector<std::pair<Labels, Value>>& all, const std::pair<Labels, Value>& one, const Merging& merge) {
    const auto [found, is_new] = at.try_emplace(key_of(one.first), all.size());
    if (is_new) {
      all.push_back(one);
    } else {
      merge(all[found->second].second, one.second);
    }
  }

  void add(const MetricFamily& more) {
    for (const auto& one : more.samples) {
      add(family.samples, one, [&](double& value, double other) { value = merged(family.merge, value, other); });
    }
    for (const auto& one : more.histograms) {
      add(family.histograms, one,
          [](HistogramSnapshot& sum, const HistogramSnapshot& other) { anya::add(sum, other); });
    }
  }
};

}  // namespace

std::string_view merge_name(Merge merge) noexcept {
  static constexpr std::array<std::string_view, 3> kNames = {"sum", "max", "min"};
  return kNames[static_cast<std::size_t>(merge)];
}

std::vector<MetricFamily> merge_families(std::span<const std::vector<MetricFamily>> parts) {
  std::vector<const MetricFamily*> first;
  std::unordered_map<std::string_view, Joined> joined;  // of those that are there more than once
  std::unordered_map<std::string_view, const MetricFamily*> seen;
  for (const auto& part : parts) {
    for (const MetricFamily& family : part) {
      const auto [before, is_new] = seen.try_emplace(family.name, &family);
      if (is_new) {
        first.push_back(&family);
        continue;
      }
      const auto [found, is_second] = joined.try_emplace(family.name);
      if (is_second) found->second.begin(*before->second);
      found->second.add(family);
    }
  }
  std::vector<MetricFamily> families;
  families.reserve(first.size());
  for (const MetricFamily* each : first) {
    const auto found = joined.find(each->name);
    if (found == joined.end()) {
      families.push_back(*each);
    } else {
      families.push_back(std::move(found->second.family));
    }
  }
  return families;
}

}  // namespace anya
