// SPDX-License-Identifier: Apache-2.0
//
// Elements of any numeric type as doubles. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "anya/tensor.h"
#include "base/half.h"

namespace anya {

inline bool is_number(DType dtype) noexcept { return dtype != DType::kString && dtype != DType::kUndefined; }

// Calls `visit(const T* elements, double (*)(T))` for the type; a half's bits are its elements.
template <typename Visit>
void with_elements(DType dtype, const void* data, Visit&& visit) noexcept {
  const auto plain = [&]<typename T>(T /*type*/) {
    visit(static_cast<const T*>(data), [](T x) { return static_cast<double>(x); });
  };
  switch (dtype) {
    case DType::kFloat32:
      return plain(float{});
    case DType::kFloat64:
      return plain(double{});
    case DType::kInt64:
      return plain(std::int64_t{});
    case DType::kInt32:
      return plain(std::int32_t{});
    case DType::kInt16:
      return plain(std::int16_t{});
    case DType::kInt8:
      return plain(std::int8_t{});
    case DType::kUInt64:
      return plain(std::uint64_t{});
    case DType::kUInt32:
      return plain(std::uint32_t{});
    case DType::kUInt16:
      return plain(std::uint16_t{});
    case DType::kUInt8:
    case DType::kBool:
      return plain(std::uint8_t{});
    case DType::kFloat16:
      return visit(static_cast<const std::uint16_t*>(data),
                   [](std::uint16_t x) { return static_cast<double>(from_float16(x)); });
    case DType::kBFloat16:
      return visit(static_cast<const std::uint16_t*>(data),
                   [](std::uint16_t x) { return static_cast<double>(from_bfloat16(x)); });
    case DType::kString:
    case DType::kUndefined:
      return;
  }
}

// `count` elements from `first` on, `stride` apart.
inline void widen(DType dtype, const void* data, std::size_t first, std::size_t stride, std::size_t count,
                  double* out) noexcept {
  with_elements(dtype, data, [&](const auto* elements, auto wide) {
    if (stride == 1) {
      for (std::size_t i = 0; i < count; ++i) out[i] = wide(elements[first + i]);
    } else {
      for (std::size_t i = 0; i < count; ++i) out[i] = wide(elements[first + i * stride]);
    }
  });
}

}  // namespace anya
