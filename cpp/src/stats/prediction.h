// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

namespace anya {

// What a classifier said of one thing, and how sure it was.
struct Prediction {
  bool decided;       // false: not finite, or no distribution; the rest says nothing then
  std::size_t top;    // the class of the largest probability, the first of equal ones
  double confidence;  // that probability
  double margin;      // how far it is above the next one
  double entropy;     // of the distribution, over its largest possible value, ln(classes): 0 to 1
};

// Of each row of so many values, at least one, a prediction. `logits`: they go through softmax first; a single one,
// through the logistic function. Otherwise they are probabilities and must sum to 1 within a hundredth; a single one is
// that of the second of two classes. Four rows cost little more than one.
// Shannon entropy; of n logits x with s the sum of exp(x - max): ln s - sum((x - max) exp(x - max)) / s. PURE.
// REQUIRES: found.size() >= rows.size(), classes < 2^31.
void predict(std::span<const float* const> rows, std::size_t classes, bool logits,
             std::span<Prediction> found) noexcept;

}  // namespace anya
