// SPDX-License-Identifier: Apache-2.0
#include "stats/prediction.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numbers>

namespace anya {
namespace {

constexpr float kNothing = -87.0F;  // exp of it is 0 but for the last bits
constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr float kTolerance = 0.01F;  // of the sum of probabilities

// Four floats that one instruction works on, whatever the machine: a compiler's word, not a machine's.
using Four = float __attribute__((vector_size(16)));
using FourInts = std::int32_t __attribute__((vector_size(16)));

// exp(x) for each x from -87 to 0, to seven millionths of it. 2^(n + f) with n whole and f within a half of 0; 2^f is
// its series, whose fifth power is spread over the third and the first (Chebyshev).
Four exp_below_zero(Four x) noexcept {
  const Four power = x * std::numbers::log2e_v<float>;
  const FourInts whole = __builtin_convertvector(power - 0.5F, FourInts);  // towards zero: the nearest
  const Four f = (power - __builtin_convertvector(whole, Four)) * std::numbers::ln2_v<float>;
  const Four square = f * f;
  const Four series = 1.0F + 0.99996243F * f + square * (0.5F + 0.16791783F * f + 0.0416666667F * square);
  return series * std::bit_cast<Four>((whole + 127) << 23);
}

// ln(x) for each positive x, to a millionth. x is 2^n m with m between the roots of 1/2 and 2; ln m is its series in
// (m - 1) / (m + 1).
Four ln(Four x) noexcept {
  constexpr std::int32_t kRootOfHalf = 0x3F3504F3;
  const auto bits = std::bit_cast<FourInts>(x);
  const FourInts n = (bits - kRootOfHalf) >> 23;
  const auto m = std::bit_cast<Four>(bits - (n << 23));
  const Four s = (m - 1.0F) / (m + 1.0F);
  const Four square = s * s;
  const Four series = 1.0F + square * (1.0F / 3 + square * (0.2F + square * (1.0F / 7 + square * (1.0F / 9))));
  return 2.0F * s * series + __builtin_convertvector(n, Four) * std::numbers::ln2_v<float>;
}

Four larger(Four a, Four b) noexcept { return a > b ? a : b; }
Four smaller(Four a, Four b) noexcept { return a < b ? a : b; }

// The lanes in another order: first the two halves, then within them; two such steps bring all lanes together.
template <typename Lanes>
Lanes halves_swapped(Lanes a) noexcept {
  return __builtin_shufflevector(a, a, 2, 3, 0, 1);
}
template <typename Lanes>
Lanes neighbours_swapped(Lanes a) noexcept {
  return __builtin_shufflevector(a, a, 1, 0, 3, 2);
}
template <typename Lanes>
Lanes sum_of(Lanes a) noexcept {
  a += halves_swapped(a);
  return a + neighbours_swapped(a);
}

// The largest of what each lane has seen, and where; in the end of what the lanes have seen together.
struct Largest {
  Four first = Four{} + kLowest;
  Four second = Four{} + kLowest;
  FourInts at{};
  FourInts no_numbers{};  // below zero: so many

  // Choices, no branches: in random numbers every one of them would be mispredicted now and then.
  void see(Four values, FourInts where) noexcept {
    no_numbers += values != values;
    const FourInts above = values > first;
    second = larger(second, smaller(first, values));
    at = above ? where : at;
    first = above ? values : first;
  }
  void see(Four firsts, Four seconds, FourInts where) noexcept {
    const FourInts above = (firsts > first) | ((firsts == first) & (where < at));
    second = larger(larger(second, seconds), smaller(first, firsts));
    at = above ? where : at;
    first = larger(first, firsts);
  }
};

struct Sums {
  Four weights{};
  Four weighted{};  // of logits: by their distance from the largest; of probabilities: by their logarithm
  FourInts negatives{};

  void see_logits(Four values, Four first) noexcept {
    const Four below = larger(values - first, Four{} + kNothing);
    const Four weight = exp_below_zero(below);
    weights += weight;
    weighted += weight * below;
  }
  void see_probabilities(Four values) noexcept {
    negatives += values < 0.0F;
    weights += values;
    weighted += larger(values, Four{}) * ln(larger(values, Four{} + std::numeric_limits<float>::min()));
  }
};

// Four rows, each in a lane of its own.
struct FourRows {
  std::span<const float* const, 4> rows;
  std::size_t classes;

  template <typename Take>
  void each(float /*filling*/, const Take& take) const noexcept {
    const float* const a = rows[0];
    const float* const b = rows[1];
    const float* const c = rows[2];
    const float* const d = rows[3];
    for (std::size_t i = 0; i < classes; ++i) take(Four{a[i], b[i], c[i], d[i]}, FourInts{} + static_cast<int>(i));
  }
  void join(Largest& /*largest*/) const noexcept {}
  void join(Sums& /*sums*/) const noexcept {}
};

// One row, its values in turn in the four lanes; what the lanes know is joined, so that each lane knows all.
struct OneRow {
  const float* values;
  std::size_t classes;

  // The last four overlap those before: what was there is `filling` then.
  template <typename Take>
  void each(float filling, const Take& take) const noexcept {
    constexpr FourInts kLanes{0, 1, 2, 3};
    if (classes < 4) {
      return take(Four{values[0], classes > 1 ? values[1] : filling, classes > 2 ? values[2] : filling, filling},
                  kLanes);
    }
    Four four;
    std::size_t i = 0;
    for (; i + 4 <= classes; i += 4) {
      std::memcpy(&four, values + i, sizeof(four));
      take(four, kLanes + static_cast<int>(i));
    }
    if (i == classes) return;
    std::memcpy(&four, values + classes - 4, sizeof(four));
    const FourInts at = kLanes + static_cast<int>(classes - 4);
    take(at >= static_cast<int>(i) ? four : Four{} + filling, at);
  }
  void join(Largest& largest) const noexcept {
    largest.see(halves_swapped(largest.first), halves_swapped(largest.second), halves_swapped(largest.at));
    largest.see(neighbours_swapped(largest.first), neighbours_swapped(largest.second), neighbours_swapped(largest.at));
    largest.no_numbers = sum_of(largest.no_numbers);
  }
  void join(Sums& sums) const noexcept {
    sums.weights = sum_of(sums.weights);
    sums.weighted = sum_of(sums.weighted);
    sums.negatives = sum_of(sums.negatives);
  }
};

template <typename Rows>
void predict_lanes(const Rows& rows, bool logits, std::span<Prediction> found) noexcept {
  Largest largest;
  rows.each(kLowest, [&](Four values, FourInts at) { largest.see(values, at); });
  rows.join(largest);
  Sums sums;
  if (logits) {
    rows.each(kLowest, [&](Four values, FourInts) { sums.see_logits(values, largest.first); });
  } else {
    rows.each(0.0F, [&](Four values, FourInts) { sums.see_probabilities(values); });
  }
  rows.join(sums);
  constexpr float kMost = std::numeric_limits<float>::max();
  FourInts decided = (largest.no_numbers == 0) & (largest.first >= -kMost) & (largest.first <= kMost);
  Four confidence = smaller(largest.first, Four{} + 1.0F);
  Four margin = confidence - smaller(largest.second, Four{} + 1.0F);
  Four entropy = -sums.weighted;
  if (logits) {
    confidence = 1.0F / sums.weights;
    margin = confidence - confidence * exp_below_zero(larger(largest.second - largest.first, Four{} + kNothing));
    entropy = ln(sums.weights) - sums.weighted * confidence;
  } else {
    decided &= (sums.negatives == 0) & (sums.weights >= 1.0F - kTolerance) & (sums.weights <= 1.0F + kTolerance);
  }
  entropy = smaller(larger(entropy / ln(Four{} + static_cast<float>(rows.classes)), Four{}), Four{} + 1.0F);
  for (std::size_t lane = 0; lane < found.size(); ++lane) {
    found[lane] = {decided[lane] != 0, static_cast<std::size_t>(largest.at[lane]), confidence[lane], margin[lane],
                   entropy[lane]};
  }
}

// Of two classes the second has the probability p.
Prediction of_two(float p) noexcept {
  if (!(p >= 0.0F && p <= 1.0F)) return {};
  const float most = std::max(p, 1.0F - p);
  const float least = 1.0F - most;
  const float entropy = least > 0.0F ? -(most * std::log2(most) + least * std::log2(least)) : 0.0F;
  return {true, p >= 0.5F ? std::size_t{1} : 0, most, most - least, entropy};
}

}  // namespace

void predict(std::span<const float* const> rows, std::size_t classes, bool logits,
             std::span<Prediction> found) noexcept {
  if (classes == 1) {
    for (std::size_t i = 0; i < rows.size(); ++i) {
      found[i] = of_two(logits ? 1.0F / (1.0F + std::exp(-*rows[i])) : *rows[i]);
    }
    return;
  }
  std::size_t i = 0;
  for (; i + 4 <= rows.size(); i += 4) {
    predict_lanes(FourRows{rows.subspan(i).first<4>(), classes}, logits, found.subspan(i, 4));
  }
  for (; i < rows.size(); ++i) predict_lanes(OneRow{rows[i], classes}, logits, found.subspan(i, 1));
}

}  // namespace anya
