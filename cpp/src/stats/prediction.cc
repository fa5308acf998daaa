// SPDX-License-Identifier: Apache-2.0
#include "stats/prediction.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace anya {
namespace {

constexpr float kNothing = -87.0F;   // exp of it is 0 but for the last bits
constexpr float kTolerance = 0.01F;  // of the sum of probabilities

// exp(x) for x from -87 to 0, to seven millionths of it: a third of the library's time. 2^(n + f) with n whole and f
// within a half of 0; 2^f is its series.
float exp_below_zero(float x) noexcept {
  const float power = x * 1.44269504F;
  const auto whole = static_cast<std::int32_t>(power - 0.5F);  // towards zero: the nearest
  const float f = (power - static_cast<float>(whole)) * 0.693147181F;
  const float series = 1.0F + f * (1.0F + f * (0.5F + f * (0.166666667F + f * (0.0416666667F + f * 0.00833333333F))));
  return series * std::bit_cast<float>((whole + 127) << 23);
}

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
  bool no_number = false;
  float first = -std::numeric_limits<float>::infinity();
  float second = -std::numeric_limits<float>::infinity();
};

Largest largest_of(std::span<const float> values) noexcept {
  Largest found;
  for (std::size_t i = 0; i < values.size(); ++i) {
    found.no_number = found.no_number || values[i] != values[i];
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
  if (largest.no_number || !std::isfinite(largest.first)) return {};
  float sum = 0;
  float weighted = 0;  // of logits: of their distance from the largest; of probabilities: of their logarithm
  bool negative = false;
  for (const float value : values) {
    if (logits) {
      const float below = std::max(value - largest.first, kNothing);
      const float weight = exp_below_zero(below);
      sum += weight;
      weighted += weight * below;
    } else {
      negative = negative || value < 0.0F;
      sum += value;
      if (value > 0.0F) weighted += value * std::log(value);
    }
  }
  if (!logits && (negative || std::abs(sum - 1.0F) > kTolerance)) return {};
  Prediction found;
  found.decided = true;
  found.top = largest.at;
  found.confidence = logits ? 1.0F / sum : std::min(1.0F, largest.first);
  found.margin = logits ? found.confidence - exp_below_zero(std::max(largest.second - largest.first, kNothing)) / sum
                        : found.confidence - std::min(1.0F, largest.second);
  const float entropy = logits ? std::log(sum) - weighted / sum : -weighted;
  found.entropy = std::clamp(entropy / std::log(static_cast<float>(values.size())), 0.0F, 1.0F);
  return found;
}

}  // namespace anya
