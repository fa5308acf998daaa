// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "anya/drift.h"
#include "anya/tensor.h"

namespace anya {

// Makes a row of a tensor into its few numbers (DriftKind says which). Constant after construction, so thread-safe;
// never allocates after that: who calls lends the memory.
class RowSummary {
 public:
  explicit RowSummary(const DriftTensor& tensor);

  [[nodiscard]] std::size_t numbers() const noexcept { return numbers_; }
  // Floats that `lent` must have.
  [[nodiscard]] std::size_t lent() const noexcept { return kind_ == DriftKind::kEmbedding ? width_ : 0; }
  // Whether rows of such a tensor can be made into numbers; `elements` of one row.
  [[nodiscard]] bool fits(DType dtype, const Shape& shape, std::size_t elements) const noexcept;
  // The numbers of one row into `out`. REQUIRES: it fits.
  void look(DType dtype, std::size_t elements, const void* row, float* lent, double* out) const noexcept;

 private:
  void embedding(const float* row, std::size_t elements, float* pooled, double* out) const noexcept;

  DriftKind kind_;
  std::size_t numbers_;
  std::size_t channels_;
  bool channels_last_;
  std::size_t width_ = 0;        // of an embedding
  std::vector<float> signs_;     // [width_, kProjections], +1 and -1
  std::vector<float> centroid_;  // of length 1, or zeros
};

// The first axis counts rows. A tensor without axes is one row of one element.
std::size_t rows_in(const Shape& shape) noexcept;
std::size_t elements_of_row(const Shape& shape) noexcept;

}  // namespace anya
