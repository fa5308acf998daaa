// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/hash.h"

namespace anya::cache {

// The cache's index: a seeded hash of pieces in order. It spreads, it does not identify. Short pieces go through a
// folded multiply, 16 bytes at a time. Long ones are first cut down block by block by NH (Black et al., UMAC, CRYPTO
// 1999): sums of products of 32-bit words, each with a key word of its own, in vectors; what a block comes to is folded
// in. The keys are secret, so who does not know the seed cannot make two questions meet. Immutable, thread-safe.
class IndexHash {
 public:
  static constexpr std::size_t kLanes = 8;     // sums of a block, 64 bits each
  static constexpr std::size_t kBlock = 2048;  // bytes
  static constexpr std::size_t kWords = kBlock / 8;

  explicit IndexHash(std::array<std::uint64_t, 2> seed) noexcept;

  // The first piece takes any `state`; the next ones that of the piece before. Lengths are part of it.
  [[nodiscard]] std::uint64_t piece(const void* data, std::size_t size, std::uint64_t state) const noexcept {
    const auto* at = static_cast<const std::byte*>(data);
    std::size_t left = size;
    state ^= fold_multiply(size ^ keys_[0], keys_[1]);
    for (; left >= kBlock; at += kBlock, left -= kBlock) state = block(at, state);
    if (left >= 64) state = quads(at, left, state);
    while (left >= 16) {
      state = fold_multiply(word(at) ^ keys_[2], word(at + 8) ^ state);
      at += 16;
      left -= 16;
    }
    if (left > 0) {
      std::uint64_t tail[2] = {0, 0};
      std::memcpy(tail, at, left);
      state = fold_multiply(tail[0] ^ keys_[3], tail[1] ^ state);
    }
    return fold_multiply(state ^ keys_[4], keys_[5]);
  }

  // What the first word of 16 bytes must be for the second to count for nothing; for a test that makes a collision.
  [[nodiscard]] std::uint64_t blind_word() const noexcept { return keys_[2]; }

  using Sums = std::array<std::uint64_t, kLanes>;
  // The sums of one block, by the best instructions of this machine, and in plain words.
  [[nodiscard]] Sums sums(const std::byte* block) const noexcept { return sum_(block, nh_keys_.data()); }
  [[nodiscard]] Sums plain_sums(const std::byte* block) const noexcept;

 private:
  static std::uint64_t word(const std::byte* at) noexcept {
    std::uint64_t value = 0;
    std::memcpy(&value, at, 8);
    return value;
  }

  // Four at a time, since one multiplication waits for the one before it.
  std::uint64_t quads(const std::byte*& at, std::size_t& left, std::uint64_t state) const noexcept {
    std::array<std::uint64_t, 4> lane{state, state, state, state};
    for (; left >= 64; at += 64, left -= 64) {
      for (std::size_t i = 0; i < 4; ++i) {
        lane[i] = fold_multiply(word(at + i * 16) ^ keys_[6 + i], word(at + i * 16 + 8) ^ lane[i]);
      }
    }
    return fold_multiply(lane[0] ^ fold_multiply(lane[1], keys_[10]), lane[2] ^ fold_multiply(lane[3], keys_[11]));
  }

  std::uint64_t block(const std::byte* at, std::uint64_t state) const noexcept {
    const Sums sum = sums(at);
    std::array<std::uint64_t, 4> half{};
    for (std::size_t i = 0; i < 4; ++i)
      half[i] = fold_multiply(sum[i * 2] ^ keys_[12 + i], sum[i * 2 + 1] ^ keys_[6 + i]);
    return fold_multiply(state ^ half[0] ^ half[1], half[2] ^ half[3] ^ keys_[5]);
  }

  using Sum = Sums (*)(const std::byte* block, const std::uint64_t* keys) noexcept;
  static Sum best_sum() noexcept;

  std::array<std::uint64_t, 16> keys_{};
  const Sum sum_;
  alignas(64) std::array<std::uint64_t, kWords> nh_keys_{};
};

}  // namespace anya::cache
