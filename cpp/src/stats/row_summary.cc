// SPDX-License-Identifier: Apache-2.0
#include "stats/row_summary.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <string_view>

#include "anya/status.h"
#include "base/hash.h"
#include "stats/elements.h"
#include "stats/row_kinds.h"

namespace anya {
namespace {

// The compiler's own vector type, of a width that every x86-64 and ARM has.
using Four [[gnu::vector_size(16)]] = float;

Four load(const float* at) noexcept {
  Four value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

float sum(const Four& lanes) noexcept { return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]); }

}  // namespace

std::size_t rows_in(const Shape& shape) noexcept {
  return shape.rank() == 0 ? 1 : static_cast<std::size_t>(std::max<std::int64_t>(0, shape[0]));
}

std::size_t elements_of_row(const Shape& shape) noexcept {
  std::size_t elements = 1;
  for (std::size_t axis = 1; axis < shape.rank(); ++axis) elements *= static_cast<std::size_t>(shape[axis]);
  return elements;
}

RowSummary::RowSummary(const DriftTensor& tensor)
    : kind_(tensor.kind),
      numbers_(tensor.numbers),
      channels_(std::max<std::uint32_t>(1, tensor.channels)),
      channels_last_(tensor.channels_last),
      width_(tensor.kind == DriftKind::kEmbedding ? tensor.centroid.size() : 0),
      centroid_(tensor.centroid) {
  const std::size_t least[] = {1, 7 + (channels_ > 1 ? channels_ : 0), kProjections + 2, 4, 2, 2};
  if (numbers_ < least[static_cast<std::size_t>(kind_)]) {
    throw Error(ErrorCode::kConfigError, "a row of its kind makes more than " + std::to_string(numbers_) + " numbers");
  }
  signs_.reserve(width_ * kProjections);
  for (std::size_t i = 0; i < width_; ++i) {
    const std::uint64_t bits = hash_combine(3, i);
    for (std::size_t k = 0; k < kProjections; ++k) signs_.push_back((bits >> k & 1U) != 0 ? 1.0F : -1.0F);
  }
  double squares = 0;
  for (const float x : centroid_) squares += static_cast<double>(x) * static_cast<double>(x);
  const auto scale = static_cast<float>(squares > 0 ? 1 / std::sqrt(squares) : 0.0);
  for (float& x : centroid_) x *= scale;
}

bool RowSummary::fits(DType dtype, const Shape& shape, std::size_t elements) const noexcept {
  switch (kind_) {
    case DriftKind::kColumns:
      return is_number(dtype) && elements == numbers_;
    case DriftKind::kDense:
      return is_number(dtype) && elements > 0 && elements % channels_ == 0;
    case DriftKind::kEmbedding:
      return dtype == DType::kFloat32 && shape.rank() >= 2 && width_ > 0 && elements > 0 &&
             static_cast<std::size_t>(shape[shape.rank() - 1]) == width_;
    case DriftKind::kClasses:
      return is_number(dtype) && elements > 0;
    case DriftKind::kTokens:
      return dtype == DType::kInt64 || dtype == DType::kInt32;
    case DriftKind::kText:
      return dtype == DType::kString && 2 * elements == numbers_;
  }
  return false;
}

void RowSummary::look(DType dtype, std::size_t elements, const void* row, float* lent, double* out) const noexcept {
  switch (kind_) {
    case DriftKind::kColumns:
      return widen(dtype, row, 0, 1, elements, out);
    case DriftKind::kDense:
      return dense_numbers(dtype, row, elements, channels_, channels_last_, out);
    case DriftKind::kEmbedding:
      return embedding(static_cast<const float*>(row), elements, lent, out);
    case DriftKind::kClasses:
      return class_numbers(dtype, row, elements, out);
    case DriftKind::kTokens:
      return token_numbers(dtype, row, elements, out);
    case DriftKind::kText:
      return text_numbers(static_cast<const std::string_view*>(row), elements, out);
  }
}

void RowSummary::embedding(const float* row, std::size_t elements, float* pooled, double* out) const noexcept {
  const std::size_t vectors = elements / width_;
  if (vectors > 1) {
    std::memcpy(pooled, row, width_ * sizeof(float));
    for (std::size_t v = 1; v < vectors; ++v) {
      const float* const from = row + v * width_;
      for (std::size_t i = 0; i < width_; ++i) pooled[i] += from[i];
    }
    const float share = 1.0F / static_cast<float>(vectors);
    for (std::size_t i = 0; i < width_; ++i) pooled[i] *= share;
    row = pooled;
  }
  // Two sums of each, so that an addition does not wait for the one before.
  Four low[2] = {};  // of projections 0 to 3
  Four high[2] = {};
  Four squares[2] = {};
  Four along[2] = {};
  const float* signs = signs_.data();
  std::size_t i = 0;
  for (; i + 8 <= width_; i += 8) {
#pragma GCC unroll 2
    for (std::size_t half = 0; half < 2; ++half) {
      const Four x = load(row + i + 4 * half);
      squares[half] += x * x;
      along[half] += x * load(centroid_.data() + i + 4 * half);
    }
#pragma GCC unroll 8
    for (std::size_t j = 0; j < 8; ++j, signs += kProjections) {
      low[j % 2] += row[i + j] * load(signs);
      high[j % 2] += row[i + j] * load(signs + 4);
    }
  }
  float rest_squares = 0;
  float rest_along = 0;
  for (; i < width_; ++i, signs += kProjections) {
    rest_squares += row[i] * row[i];
    rest_along += row[i] * centroid_[i];
    low[0] += row[i] * load(signs);
    high[0] += row[i] * load(signs + 4);
  }
  const Four halves[] = {low[0] + low[1], high[0] + high[1]};
  const float scale = 1.0F / std::sqrt(static_cast<float>(width_));
  const double norm = std::sqrt(static_cast<double>(sum(squares[0] + squares[1]) + rest_squares));
  for (std::size_t k = 0; k < kProjections; ++k) out[k] = static_cast<double>(halves[k / 4][k % 4] * scale);
  out[kProjections] = norm;
  out[kProjections + 1] = norm > 0 ? static_cast<double>(sum(along[0] + along[1]) + rest_along) / norm : norm;
}

std::vector<double> drift_numbers(const DriftTensor& tensor, const TensorView& view) {
  const RowSummary summary(tensor);
  const std::size_t rows = rows_in(view.shape);
  const std::size_t elements = elements_of_row(view.shape);
  const std::size_t row_bytes = elements * element_size(view.dtype);
  if (rows * row_bytes != view.bytes || (rows > 0 && !summary.fits(view.dtype, view.shape, elements))) {
    throw Error(ErrorCode::kConfigError, "a tensor of " + std::string(dtype_name(view.dtype)) + view.shape.to_string() +
                                             " is not of the kind and size that its plan says");
  }
  std::vector<double> out(rows * summary.numbers());
  std::vector<float> lent(summary.lent());
  for (std::size_t row = 0; row < rows; ++row) {
    summary.look(view.dtype, elements, static_cast<const std::byte*>(view.data) + row * row_bytes, lent.data(),
                 out.data() + row * summary.numbers());
  }
  return out;
}

}  // namespace anya
