// SPDX-License-Identifier: Apache-2.0
#include "model/row_compare.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "base/half.h"

namespace anya {
namespace {

std::string shown(double alone, double together) {
  char text[96];
  std::snprintf(text, sizeof text, "%.6g alone, %.6g in company", alone, together);
  return text;
}

bool close(double alone, double together, const Tolerance& tolerance) {
  if (alone == together) return true;  // infinities too
  if (std::isnan(alone) || std::isnan(together)) return std::isnan(alone) && std::isnan(together);
  if (std::isinf(alone) || std::isinf(together)) return false;  // the bound itself would be infinite
  return std::abs(together - alone) <= tolerance.atol + tolerance.rtol * std::abs(alone);
}

bool is_floating(DType dtype) noexcept {
  return dtype == DType::kFloat32 || dtype == DType::kFloat64 || dtype == DType::kFloat16 || dtype == DType::kBFloat16;
}

template <typename T>
T element(const void* data, std::size_t index) {
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + index * sizeof value, sizeof value);
  return value;
}

// REQUIRES: is_floating(dtype)
double floating_element(DType dtype, const void* data, std::size_t index) {
  switch (dtype) {
    case DType::kFloat32:
      return static_cast<double>(element<float>(data, index));
    case DType::kFloat16:
      return static_cast<double>(from_float16(element<std::uint16_t>(data, index)));
    case DType::kBFloat16:
      return static_cast<double>(from_bfloat16(element<std::uint16_t>(data, index)));
    default:
      return element<double>(data, index);
  }
}

std::string compare_floats(DType dtype, const void* a, const void* b, std::size_t count, const Tolerance& tolerance) {
  for (std::size_t i = 0; i < count; ++i) {
    const double left = floating_element(dtype, a, i);
    const double right = floating_element(dtype, b, i);
    if (!close(left, right, tolerance)) return shown(left, right);
  }
  return {};
}

std::string compare_strings(const void* a, const void* b, std::size_t count) {
  const auto* left = static_cast<const std::string_view*>(a);
  const auto* right = static_cast<const std::string_view*>(b);
  for (std::size_t i = 0; i < count; ++i) {
    if (left[i] != right[i]) return "another text";
  }
  return {};
}

}  // namespace

std::string row_difference(const OutputBuffer& alone, const OutputBuffer& together, std::size_t row,
                           const Tolerance& tolerance) {
  Shape as_alone = together.shape;
  if (as_alone.rank() == 0 || alone.shape.rank() == 0) return "no first axis";
  as_alone[0] = 1;
  if (!(as_alone == alone.shape)) {
    return "shape " + alone.shape.to_string() + " alone, a row of " + together.shape.to_string() + " in company";
  }
  const std::size_t bytes = alone.bytes;
  const std::size_t size = element_size(alone.dtype);
  if (bytes == 0) return {};
  if (size == 0 || bytes * (row + 1) > together.bytes) return "an answer of another size";
  const void* a = alone.data;
  const void* b = static_cast<const char*>(together.data) + row * bytes;
  const std::size_t count = bytes / size;
  if (is_floating(alone.dtype)) return compare_floats(alone.dtype, a, b, count, tolerance);
  if (alone.dtype == DType::kString) return compare_strings(a, b, count);
  return std::memcmp(a, b, bytes) == 0 ? "" : "another value of type " + std::string(dtype_name(alone.dtype));
}

bool nothing_finite(const OutputBuffer& output) {
  if (!is_floating(output.dtype) || output.bytes == 0) return false;
  for (std::size_t i = 0; i < output.bytes / element_size(output.dtype); ++i) {
    if (std::isfinite(floating_element(output.dtype, output.data, i))) return false;
  }
  return true;
}

}  // namespace anya
