// SPDX-License-Identifier: Apache-2.0
#include "base/hash.h"

#include <array>
#include <bit>
#include <set>
#include <string>

#include "support/check.h"

using anya::hash_bytes;
using anya::hash_combine;

TEST(Hash, IsAFunctionOfBytesAndSeed) {
  EXPECT_EQ(hash_bytes("a key", 1), hash_bytes(std::string("a key"), 1));
  EXPECT_NE(hash_bytes("a key", 1), hash_bytes("a key", 2));
  EXPECT_NE(hash_bytes("a key", 1), hash_bytes("a kez", 1));
}

TEST(Hash, EveryLengthIsDistinctEvenOfEqualBytes) {
  for (const char fill : {'\0', 'a', '\xFF'}) {
    std::set<std::uint64_t> seen;
    for (std::size_t length = 0; length <= 64; ++length) seen.insert(hash_bytes(std::string(length, fill), 7));
    EXPECT_EQ(seen.size(), 65u);
  }
}

TEST(Hash, EveryByteOfEveryLengthCounts) {
  for (std::size_t length = 1; length <= 64; ++length) {
    std::set<std::uint64_t> seen{hash_bytes(std::string(length, 'x'), 3)};
    for (std::size_t at = 0; at < length; ++at) {
      std::string text(length, 'x');
      text[at] = 'y';
      seen.insert(hash_bytes(text, 3));
    }
    EXPECT_EQ(seen.size(), length + 1);
  }
}

TEST(Hash, DoesNotReadPastTheEnd) {
  const std::string text = "0123456789abcdef";
  for (std::size_t length = 0; length <= 12; ++length) {
    std::string other = text.substr(0, length) + std::string(16, '!');
    EXPECT_EQ(hash_bytes(std::string_view(text).substr(0, length), 5),
              hash_bytes(std::string_view(other).substr(0, length), 5));
  }
}

// 100,000 consecutive keys in 64 places: each place within 6 standard deviations of its share, by high bits and by low.
TEST(Hash, SpreadsConsecutiveKeys) {
  constexpr int kKeys = 100'000;
  std::array<int, 64> high{};
  std::array<int, 64> low{};
  for (int i = 0; i < kKeys; ++i) {
    const std::uint64_t hash = hash_bytes("user-" + std::to_string(i), 42);
    ++high[hash >> 58U];
    ++low[hash & 63U];
  }
  for (std::size_t place = 0; place < 64; ++place) {
    EXPECT_LT(std::abs(high[place] - kKeys / 64), 240);
    EXPECT_LT(std::abs(low[place] - kKeys / 64), 240);
  }
}

// Changing one bit changes about half of the answer's bits.
TEST(Hash, AvalanchesOneBit) {
  int changed = 0;
  int trials = 0;
  for (int key = 0; key < 200; ++key) {
    std::string text = "request " + std::to_string(key);
    const std::uint64_t before = hash_bytes(text, 9);
    for (std::size_t bit = 0; bit < text.size() * 8; ++bit, ++trials) {
      std::string other = text;
      other[bit / 8] = static_cast<char>(other[bit / 8] ^ (1 << (bit % 8)));
      changed += std::popcount(before ^ hash_bytes(other, 9));
    }
  }
  const double mean = static_cast<double>(changed) / trials;
  EXPECT_GT(mean, 30.0);
  EXPECT_LT(mean, 34.0);
}

TEST(Hash, CombineDependsOnTheOrder) {
  EXPECT_NE(hash_combine(hash_combine(1, 2), 3), hash_combine(hash_combine(1, 3), 2));
}
