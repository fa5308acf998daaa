// SPDX-License-Identifier: Apache-2.0
//
// What is counted of a model's inputs and outputs so that their distributions can be compared with a reference. The
// comparison is made above the core.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "anya/tensor.h"

namespace anya {

// How a row of a tensor becomes a few numbers; src/anya_engine/_features.py names them, in this order.
//   kColumns    every element
//   kDense      mean, std, min, max, share of zeros, L2 norm, share of non-finite, mean by channel; of a sample
//   kEmbedding  8 projections on fixed signs, L2 norm, cosine to the centroid; rows of [S, D] are averaged over S
//   kClasses    the greatest, how far it is ahead, entropy in nats, which one it is
//   kTokens     how many are not 0, the bucket of one of them (-1: there is none)
//   kText       for each string: its characters, and its hash
enum class DriftKind : std::uint8_t { kColumns, kDense, kEmbedding, kClasses, kTokens, kText };

inline constexpr std::size_t kProjections = 8;
inline constexpr std::size_t kTokenBuckets = 32;

// One histogram over one of those numbers. NaN and infinities are in no bin.
struct DriftFeature {
  std::uint32_t source = 0;  // which number
  // Numeric: ascending, finite; bin k holds edges[k - 1] < x <= edges[k].
  std::vector<double> edges;
  // Categorical where there are keys: ascending, and the bin of each. What is no key is in the last bin.
  std::vector<double> keys;
  std::vector<std::uint32_t> key_bins;
  std::uint32_t bins = 1;  // all of them
  double center = 0;       // sums are taken about it
};

struct DriftTensor {
  bool is_output = false;
  std::uint32_t index = 0;  // in the schema
  DriftKind kind = DriftKind::kColumns;
  std::uint32_t numbers = 0;   // of a row
  std::uint32_t channels = 1;  // kDense
  bool channels_last = false;
  std::vector<float> centroid;  // kEmbedding; empty: the cosine is 0
  std::vector<DriftFeature> features;
};

struct DriftPlan {
  std::vector<DriftTensor> tensors;
  double sample_rate = -1;  // share of the requests whose inputs are looked at; negative: by the budget
  double budget = 0.01;     // share of the computing time for looking; inputs get what outputs leave, or a tenth
};

// What was counted of one feature.
struct DriftTally {
  std::uint64_t nan = 0;
  std::uint64_t pos_inf = 0;
  std::uint64_t neg_inf = 0;
  double sum = 0;      // of x - center, finite x
  double squares = 0;  // of its square
  double min = 0;      // of x; above max where there was none
  double max = 0;
};

struct DriftCounts {
  std::vector<std::uint64_t> bins;  // of all features, in the plan's order
  std::vector<DriftTally> tallies;  // likewise
  std::uint64_t rows = 0;           // answered
  std::uint64_t sampled_rows = 0;   // whose inputs were looked at
};

// The numbers of every row of a tensor, as live rows are made into them: [rows, numbers]. For making references.
// Throws Error(kConfigError) when the tensor is not of its plan's kind and size.
std::vector<double> drift_numbers(const DriftTensor& tensor, const TensorView& view);

}  // namespace anya
