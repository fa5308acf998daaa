// SPDX-License-Identifier: Apache-2.0
//
// The cache's index: a seeded folded multiply, eight lanes wide for what is long. It spreads, it does not identify.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/hash.h"

namespace anya::cache {

// Hashes pieces in order. The lanes' keys are secret: who does not know the seed cannot make two questions meet.
// Immutable, thread-safe.
class IndexHash {
 public:
  static constexpr std::size_t kLanes = 8;
  static constexpr std::size_t kRound = kLanes * 16;

  explicit IndexHash(std::array<std::uint64_t, 2> seed) noexcept {
    std::uint64_t state = seed[0];
    for (std::size_t i = 0; i < keys_.size(); ++i) keys_[i] = state = hash_combine(state ^ seed[1], i + 1);
  }

  // The first piece takes any `state`; the next ones that of the piece before. Lengths are part of it.
  [[nodiscard]] std::uint64_t piece(const void* data, std::size_t size, std::uint64_t state) const noexcept {
    const auto* at = static_cast<const std::byte*>(data);
    std::size_t left = size;
    state ^= fold_multiply(size ^ keys_[kLanes], keys_[kLanes + 1]);
    if (left >= kRound) state = rounds(at, left, state);
    while (left >= 16) {
      state = fold_multiply(word(at) ^ keys_[0], word(at + 8) ^ state);
      at += 16;
      left -= 16;
    }
    if (left > 0) {
      std::uint64_t tail[2] = {0, 0};
      std::memcpy(tail, at, left);
      state = fold_multiply(tail[0] ^ keys_[1], tail[1] ^ state);
    }
    return fold_multiply(state ^ keys_[2], keys_[3]);
  }

  // What a word must be for the other half of its 16 bytes to count for nothing; for a test that makes a collision.
  [[nodiscard]] std::uint64_t short_key() const noexcept { return keys_[0]; }

 private:
  static std::uint64_t word(const std::byte* at) noexcept {
    std::uint64_t value = 0;
    std::memcpy(&value, at, 8);
    return value;
  }

  // Independent lanes, since one multiplication waits for the one before it: takes whole rounds off the front.
  std::uint64_t rounds(const std::byte*& at, std::size_t& left, std::uint64_t state) const noexcept {
    std::array<std::uint64_t, kLanes> lane;
    lane.fill(state);
    for (; left >= kRound; at += kRound, left -= kRound) {
#pragma GCC unroll 8
      for (std::size_t i = 0; i < kLanes; ++i) {
        lane[i] = fold_multiply(word(at + i * 16) ^ keys_[i], word(at + i * 16 + 8) ^ lane[i]);
      }
    }
    state = lane[0];
    for (std::size_t i = 1; i < kLanes; ++i) state = fold_multiply(state ^ keys_[i], lane[i] ^ keys_[i + 1]);
    return state;
  }

  std::array<std::uint64_t, kLanes + 2> keys_{};
};

}  // namespace anya::cache
