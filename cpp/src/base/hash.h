// SPDX-License-Identifier: Apache-2.0
//
// A seeded folded-multiply hash of bytes. Not cryptographic: it spreads, it does not identify.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace anya {

inline std::uint64_t fold_multiply(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

inline std::uint64_t hash_combine(std::uint64_t seed, std::uint64_t value) noexcept {
  return fold_multiply(seed ^ 0x9E3779B97F4A7C15U, value ^ 0xD6E8FEB86659FD93U);
}

inline std::uint64_t hash_bytes(std::string_view bytes, std::uint64_t seed) noexcept {
  std::uint64_t state = hash_combine(seed, bytes.size());
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  while (left >= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, 8);
    state = hash_combine(state, word);
    at += 8;
    left -= 8;
  }
  if (left > 0) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, left);
    state = hash_combine(state, word);
  }
  return fold_multiply(state, 0xA0761D6478BD642FU);
}

}  // namespace anya
