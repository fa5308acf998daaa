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

template <typename T, typename ToDouble>
std::string compare_floats(const void* a, const void* b, std::size_t count, const Tolerance& tolerance,
                           ToDouble to_double) {
  for (std::size_t i = 0; i < count; ++i) {
    T left;
    T right;
    std::memcpy(&left, static_cast<const char*>(a) + i * sizeof left, sizeof left);
    std::memcpy(&right, static_cast<const char*>(b) + i * sizeof right, sizeof right);
    if (!close(to_double(left), to_double(right), tolerance)) return shown(to_double(left), to_double(right));
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
  switch (alone.dtype) {
    case DType::kFloat32:
      return compare_floats<float>(a, b, count, tolerance, [](float v) { return static_cast<double>(v); });
    case DType::kFloat64:
      return compare_floats<double>(a, b, count, tolerance, [](double v) { return v; });
    case DType::kFloat16:
      return compare_floats<std::uint16_t>(a, b, count, tolerance,
                                           [](std::uint16_t v) { return static_cast<double>(from_float16(v)); });
    case DType::kBFloat16:
      return compare_floats<std::uint16_t>(a, b, count, tolerance,
                                           [](std::uint16_t v) { return static_cast<double>(from_bfloat16(v)); });
    case DType::kString:
      return compare_strings(a, b, count);
    default:
      return std::memcmp(a, b, bytes) == 0 ? "" : "another value of type " + std::string(dtype_name(alone.dtype));
  }
}

}  // namespace anya
