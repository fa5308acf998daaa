// SPDX-License-Identifier: Apache-2.0
//
// Element types as the rules see them: how they are held (Stored), by what they are ordered (Order), what NaN is, and
// how one is put into the 64 bits of a Status. Pure.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <utility>
#include <variant>

#include "anya/rules.h"
#include "base/half.h"

namespace anya::rules {

template <typename T>
struct Element {
  using Stored = T;
  using Order = T;
  static constexpr bool kFloating = std::is_floating_point_v<T>;

  static Order order(Stored value) noexcept { return value; }
  static bool is_nan(Stored value) noexcept {
    if constexpr (kFloating) return std::isnan(value);
    return false;
  }
  static bool is_negative(Stored value) noexcept { return value < 0; }
  static Stored lowest() noexcept { return std::numeric_limits<T>::lowest(); }
  static Stored greatest() noexcept { return std::numeric_limits<T>::max(); }
  static Stored infinity() noexcept { return std::numeric_limits<T>::infinity(); }
  static Order low_order(Stored value) noexcept { return value; }
  static Order high_order(Stored value) noexcept { return value; }
  static std::int64_t fact(Stored value) noexcept {
    if constexpr (kFloating) {
      return std::bit_cast<std::int64_t>(static_cast<double>(value));
    } else {
      return static_cast<std::int64_t>(value);
    }
  }
  // False: the type cannot hold it (a fraction for whole numbers, or too large). Floating types round to the nearest.
  static bool from(const Number& number, Stored* out) noexcept {
    return std::visit(
        [&](auto given) {
          using Given = decltype(given);
          if constexpr (kFloating) {
            *out = static_cast<T>(given);
            return std::isfinite(*out);
          } else if constexpr (std::is_floating_point_v<Given>) {
            // 2^63 and 2^64 are exact as doubles; one below them is not.
            constexpr double kEnd = static_cast<double>(T{1} << (std::numeric_limits<T>::digits - 1)) * 2.0;
            if (!(given >= static_cast<double>(std::numeric_limits<T>::lowest()) && given < kEnd)) return false;
            *out = static_cast<T>(given);
            return std::trunc(given) == given;
          } else {
            *out = static_cast<T>(given);
            return std::in_range<T>(given);
          }
        },
        number);
  }
};

// The 16-bit floating types: ordered as whole numbers, by their bits with those of negative values turned over.
template <std::uint16_t kInfinity>
struct HalfElement {
  using Stored = std::uint16_t;
  using Order = std::int16_t;
  static constexpr bool kFloating = true;

  static float wide(Stored bits) noexcept {
    if constexpr (kInfinity == 0x7C00) {
      return from_float16(bits);
    } else {
      return from_bfloat16(bits);
    }
  }
  static Order order(Stored bits) noexcept {
    const auto whole = static_cast<std::int16_t>(bits);
    return static_cast<std::int16_t>(whole ^ ((whole >> 15) & 0x7FFF));
  }
  static bool is_nan(Stored bits) noexcept { return (bits & 0x7FFF) > kInfinity; }
  static bool is_negative(Stored bits) noexcept { return (bits & 0x8000) != 0; }
  static Stored lowest() noexcept { return static_cast<Stored>(0x8000 | (kInfinity - 1)); }
  static Stored greatest() noexcept { return kInfinity - 1; }
  static Stored infinity() noexcept { return kInfinity; }
  // -0 and +0 are the same number: as a bound, zero takes in both.
  static Order low_order(Stored bits) noexcept { return order((bits & 0x7FFF) == 0 ? Stored{0x8000} : bits); }
  static Order high_order(Stored bits) noexcept { return order((bits & 0x7FFF) == 0 ? Stored{0} : bits); }
  static std::int64_t fact(Stored bits) noexcept {
    return std::bit_cast<std::int64_t>(static_cast<double>(wide(bits)));
  }
  static bool from(const Number& number, Stored* out) noexcept {
    const double value = std::visit([](auto given) { return static_cast<double>(given); }, number);
    *out = nearest(value);
    return !is_nan(*out) && (*out & 0x7FFF) < kInfinity;
  }

 private:
  // Ties go to the even neighbour. Bits of one sign are in order, so the nearest is found by halving.
  static Stored nearest(double value) noexcept {
    const double size = std::fabs(value);
    Stored below = 0;
    Stored above = kInfinity;
    while (above - below > 1) {
      const auto middle = static_cast<Stored>((below + above) / 2);
      (static_cast<double>(wide(middle)) <= size ? below : above) = middle;
    }
    // Infinity rounds as if it were the next finite number.
    const double step = static_cast<double>(wide(below)) - (below == 0 ? 0.0 : static_cast<double>(wide(below - 1)));
    const double upper =
        above == kInfinity ? static_cast<double>(wide(below)) + step : static_cast<double>(wide(above));
    const double to_below = size - static_cast<double>(wide(below));
    const double to_above = upper - size;
    const bool up = to_above < to_below || (to_above == to_below && (below & 1U) != 0);
    const Stored bits = up ? above : below;
    return value < 0 ? static_cast<Stored>(bits | 0x8000U) : bits;
  }
};

using Float16 = HalfElement<0x7C00>;
using BFloat16 = HalfElement<0x7F80>;

}  // namespace anya::rules
