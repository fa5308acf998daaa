// SPDX-License-Identifier: Apache-2.0
#include "stats/prediction.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace anya {
namespace {

constexpr float kTolerance = 0.01F;  // of the sum of probabilities

// Of two classes the second has the probability p.
Prediction of_two(float p) noexcept {
  if (!(p >= 0.0F && p <= 1.0F)) return {};
  const float most = std::max(p, 1.0F - p);
  const float least = 1.0F - most;
  const float entropy = least > 0.0F ? -(most * std::log2(most) + least * std::log2(least)) : 0.0F;
  return {true, p >= 0.5F ? std::size_t{1} : 0, most, most - least, entropy};
}

struct Largest {
  std::size_t at = 0;
  float first = -std::numeric_limits<float>::infinity();
  float second = -std::numeric_limits<float>::infinity();
};

Largest largest_of(std::span<const float> values) noexcept {
  Largest found;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (values[i] > found.first) {
      found.second = found.first;
      found.first = values[i];
      found.at = i;
    } else {
      found.second = std::max(found.second, values[i]);
    }
  }
  return found;
}

}  // namespace

Prediction predict(std::span<const float> values, bool logits) noexcept {
  if (values.empty()) return {};
  if (values.size() == 1) return of_two(logits ? 1.0F / (1.0F + std::exp(-values[0])) : values[0]);
  const Largest largest = largest_of(values);
  float sum = 0;
  float weighted = 0;  // of logits: of their distance from the largest; of probabilities: of their logarithm
  bool negative = false;
  for (const float value : values) {
    if (logits) {
      const float below = value - largest.first;  // NaN stays NaN, and so does the sum
      const float weight = std::exp(below);
      sum += weight;
      if (weight > 0.0F) weighted += weight * below;
    } else {
      negative = negative || value < 0.0F;
      sum += value;
      if (value > 0.0F) weighted += value * std::log(value);
    }
  }
  const bool adds_up = logits ? std::isfinite(sum) : !negative && std::abs(sum - 1.0F) <= kTolerance;
  if (!adds_up || !std::isfinite(largest.first)) return {};
  Prediction found;
  found.decided = true;
  found.top = largest.at;
  found.confidence = logits ? 1.0F / sum : std::min(1.0F, largest.first);
  found.margin = logits ? found.confidence - std::exp(largest.second - largest.first) / sum
                        : found.confidence - std::min(1.0F, largest.second);
  const float entropy = logits ? std::log(sum) - weighted / sum : -weighted;
  found.entropy = std::clamp(entropy / std::log(static_cast<float>(values.size())), 0.0F, 1.0F);
  return found;
}

}  // namespace anya
