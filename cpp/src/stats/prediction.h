// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>

namespace anya {

// What a classifier said of one thing, and how sure it was.
struct Prediction {
  bool decided = false;   // false: not finite, or no distribution; the rest says nothing then
  std::size_t top = 0;    // the class of the largest probability, the first of equal ones
  double confidence = 0;  // that probability
  double margin = 0;      // how far it is above the next one
  double entropy = 0;     // of the distribution, over its largest possible value, ln(classes): 0 to 1
};

// `logits`: the values go through softmax first; of a single one, through the logistic function. Otherwise they are
// probabilities and must sum to 1 within a hundredth; a single one is that of the second of two classes.
// Shannon entropy; of n logits x with s the sum of exp(x - max): ln s - sum((x - max) exp(x - max)) / s. PURE.
Prediction predict(std::span<const float> values, bool logits) noexcept;

}  // namespace anya
