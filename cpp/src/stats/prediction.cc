// SPDX-License-Identifier: Apache-2.0
#include "stats/prediction.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace anya {
namespace {

constexpr float kNothing = -87.0F;   // exp of it is 0 but for the last bits
constexpr float kTolerance = 0.01F;  // of the sum of probabilities

// Four floats that one instruction works on, whatever the machine: a compiler's word, not a machine's.
using Four = float __attribute__((vector_size(16)));
using FourInts = std::int32_t __attribute__((vector_size(16)));

// exp(x) for each x from -87 to 0, to seven millionths of it. 2^(n + f) with n whole and f within a half of 0; 2^f is
// its series.
Four exp_below_zero(Four x) noexcept {
  const Four power = x * 1.44269504F;
  const FourInts whole = __builtin_convertvector(power - 0.5F, FourInts);  // towards zero: the nearest
  const Four f = (power - __builtin_convertvector(whole, Four)) * 0.693147181F;
  const Four series = 1.0F + f * (1.0F + f * (0.5F + f * (0.166666667F + f * (0.0416666667F + f * 0.00833333333F))));
  return series * std::bit_cast<Four>((whole + 127) << 23);
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
    // Choices, no branches: in random numbers every one of them would be mispredicted now and then.
    const float value = values[i];
    const bool leads = value > found.first;
    found.no_number |= value != value;
    found.second = std::max(found.second, leads ? found.first : value);
    found.first = leads ? value : found.first;
    found.at = leads ? i : found.at;
  }
  return found;
}

struct Sums {
  float sum = 0;
  float weighted = 0;  // of logits: by their distance from the largest; of probabilities: by their logarithm
  bool negative = false;
};

Sums sums_of_logits(std::span<const float> values, float first) noexcept {
  const Four nothing = Four{} + kNothing;
  Four sum{};
  Four weighted{};
  const auto take = [&](Four below) {
    below = below > nothing ? below : nothing;
    const Four weight = exp_below_zero(below);
    sum += weight;
    weighted += weight * below;
  };
  std::size_t at = 0;
  for (; at + 4 <= values.size(); at += 4) {
    Four four;
    std::memcpy(&four, &values[at], sizeof(four));
    take(four - first);
  }
  const std::size_t left = values.size() - at;
  if (left > 0) {
    const auto below = [&](std::size_t lane) { return lane < left ? values[at + lane] - first : kNothing; };
    take(Four{below(0), below(1), below(2), kNothing});
  }
  return {sum[0] + sum[1] + sum[2] + sum[3], weighted[0] + weighted[1] + weighted[2] + weighted[3], false};
}

Sums sums_of(std::span<const float> probabilities) noexcept {
  Sums sums;
  for (const float value : probabilities) {
    sums.negative |= value < 0.0F;
    sums.sum += value;
    if (value > 0.0F) sums.weighted += value * std::log(value);
  }
  return sums;
}

}  // namespace

Prediction predict(std::span<const float> values, bool logits) noexcept {
  if (values.empty()) return {};
  if (values.size() == 1) return of_two(logits ? 1.0F / (1.0F + std::exp(-values[0])) : values[0]);
  const Largest largest = largest_of(values);
  if (largest.no_number || !std::isfinite(largest.first)) return {};
  const auto [sum, weighted, negative] = logits ? sums_of_logits(values, largest.first) : sums_of(values);
  if (!logits && (negative || std::abs(sum - 1.0F) > kTolerance)) return {};
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
