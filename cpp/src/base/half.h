// SPDX-License-Identifier: Apache-2.0
//
// The two 16-bit floating types, without hardware support: for made-up rows and comparisons, not for a hot path. Pure.
#pragma once

#include <bit>
#include <cstdint>

namespace anya {

inline float from_bfloat16(std::uint16_t bits) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}
// Rounds towards zero; NaN stays NaN.
inline std::uint16_t to_bfloat16(float value) noexcept {
  const auto bits = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16);
  return value == value ? bits : std::uint16_t{0x7FC0};
}

inline float from_float16(std::uint16_t bits) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1FU;
  const std::uint32_t fraction = bits & 0x3FFU;
  if (exponent == 0) {  // zero and subnormal: fraction * 2^-24 is exact
    const float value = static_cast<float>(fraction) * 0x1p-24F;
    return sign != 0 ? -value : value;
  }
  const std::uint32_t wide = exponent == 31 ? 0xFFU : exponent + 112;
  return std::bit_cast<float>(sign | (wide << 23) | (fraction << 13));
}
// Rounds towards zero; what is too small becomes zero, what is too large infinity.
inline std::uint16_t to_float16(float value) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>((bits >> 16) & 0x8000U);
  const std::uint32_t exponent = (bits >> 23) & 0xFFU;
  const std::uint32_t fraction = (bits >> 13) & 0x3FFU;
  if (value != value) return 0x7E00;
  if (exponent >= 143) return static_cast<std::uint16_t>(sign | 0x7C00U);
  if (exponent <= 112) return sign;
  return static_cast<std::uint16_t>(sign | ((exponent - 112) << 10) | fraction);
}

}  // namespace anya
