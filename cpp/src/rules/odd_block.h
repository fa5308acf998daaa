// SPDX-License-Identifier: Apache-2.0
//
// The one loop that every checked value goes through. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace anya::rules {

// Bytes of a block: a copy of it is still in the first-level cache when it is tested.
inline constexpr std::size_t kBlockBytes = 8192;

namespace detail {

template <std::size_t kSize>
using Bits = std::conditional_t<
    kSize == 1, std::uint8_t,
    std::conditional_t<kSize == 2, std::uint16_t, std::conditional_t<kSize == 4, std::uint32_t, std::uint64_t>>>;

// Whether anything is not within [low, high]. NaN never is. Without a branch, and over a length the compiler knows
// where it matters, so that it becomes vector code at every level of optimisation.
template <typename E>
[[gnu::always_inline]] inline bool any_outside(const typename E::Stored* values, std::size_t count,
                                               typename E::Order low, typename E::Order high) noexcept {
  using Mask = Bits<sizeof(typename E::Stored)>;
  constexpr std::size_t kBlock = kBlockBytes / sizeof(typename E::Stored);
  Mask outside = 0;
  const auto look = [&](std::size_t i) __attribute__((always_inline)) {
    const typename E::Order value = E::order(values[i]);
    const auto within = static_cast<Mask>(static_cast<Mask>(value >= low) & static_cast<Mask>(value <= high));
    outside = static_cast<Mask>(outside | static_cast<Mask>(within ^ Mask{1}));
  };
  if (count == kBlock) {
    for (std::size_t i = 0; i < kBlock; ++i) look(i);
  } else {
    for (std::size_t i = 0; i < count; ++i) look(i);
  }
  return outside != 0;
}

}  // namespace detail

template <typename E>
using AnyOutside = bool (*)(const typename E::Stored*, std::size_t, typename E::Order, typename E::Order) noexcept;

template <typename E>
bool any_outside_plain(const typename E::Stored* values, std::size_t count, typename E::Order low,
                       typename E::Order high) noexcept {
  return detail::any_outside<E>(values, count, low, high);
}

#if defined(__x86_64__)
template <typename E>
[[gnu::target("avx2")]] bool any_outside_avx2(const typename E::Stored* values, std::size_t count,
                                              typename E::Order low, typename E::Order high) noexcept {
  return detail::any_outside<E>(values, count, low, high);
}
#endif

// The best one that this machine can run. (Chosen by hand: the linker's own mechanism, ifunc, runs before a sanitizer's
// start.)
template <typename E>
AnyOutside<E> any_outside_here() noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return &any_outside_avx2<E>;
#endif
  return &any_outside_plain<E>;
}

}  // namespace anya::rules
