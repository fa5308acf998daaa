// SPDX-License-Identifier: Apache-2.0
#include "cache/index_hash.h"

#include <bit>
#include <set>
#include <string>
#include <vector>

#include "support/check.h"

using anya::cache::IndexHash;

namespace {
constexpr std::array<std::uint64_t, 2> kSeed = {1, 2};

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::uint64_t state = 88172645463325252U;
  for (std::byte& byte : bytes) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    byte = static_cast<std::byte>(state);
  }
  return bytes;
}
}  // namespace

TEST(IndexHash, EveryByteOfEveryLengthCounts) {
  const IndexHash hash(kSeed);
  for (const std::size_t size : {1, 7, 8, 15, 16, 17, 63, 64, 65, 127, 200, 2047, 2048, 2049, 4200}) {
    std::vector<std::byte> bytes = pattern(size);
    std::set<std::uint64_t> seen{hash.piece(bytes.data(), size, 0)};
    for (std::byte& byte : bytes) {
      byte ^= std::byte{0x10};
      seen.insert(hash.piece(bytes.data(), size, 0));
      byte ^= std::byte{0x10};
    }
    EXPECT_EQ(seen.size(), size + 1);
  }
}

TEST(IndexHash, LengthsCountEvenOfZeros) {
  const IndexHash hash(kSeed);
  const std::vector<std::byte> zeros(5000);
  std::set<std::uint64_t> seen;
  for (std::size_t size = 0; size <= zeros.size(); ++size) seen.insert(hash.piece(zeros.data(), size, 0));
  EXPECT_EQ(seen.size(), zeros.size() + 1);
}

TEST(IndexHash, SeedsAndStatesMakeOtherHashes) {
  const std::vector<std::byte> bytes = pattern(3000);
  const IndexHash hash(kSeed);
  const std::uint64_t plain = hash.piece(bytes.data(), bytes.size(), 0);
  EXPECT_EQ(plain, IndexHash(kSeed).piece(bytes.data(), bytes.size(), 0));
  EXPECT_NE(plain, IndexHash({1, 3}).piece(bytes.data(), bytes.size(), 0));
  EXPECT_NE(plain, IndexHash({3, 2}).piece(bytes.data(), bytes.size(), 0));
  EXPECT_NE(plain, hash.piece(bytes.data(), bytes.size(), 1));
}

// The vector code and the plain one are one function, at any alignment.
TEST(IndexHash, VectorsSumAsPlainCodeDoes) {
  const IndexHash hash(kSeed);
  const std::vector<std::byte> bytes = pattern(IndexHash::kBlock + 64);
  for (std::size_t offset = 0; offset < 64; ++offset) {
    EXPECT_TRUE(hash.sums(bytes.data() + offset) == hash.plain_sums(bytes.data() + offset));
  }
}

// One bit more or less turns over half of the hash, about, wherever it is.
TEST(IndexHash, EveryBitReachesHalfOfTheHash) {
  const IndexHash hash(kSeed);
  for (const std::size_t size : {16, 100, 4096}) {
    std::vector<std::byte> bytes = pattern(size);
    const std::uint64_t before = hash.piece(bytes.data(), size, 0);
    int turned = 0;
    int flips = 0;
    for (std::size_t at = 0; at < size; at += size / 16) {
      for (unsigned bit = 0; bit < 8; ++bit, ++flips) {
        bytes[at] ^= std::byte{1} << bit;
        turned += std::popcount(before ^ hash.piece(bytes.data(), size, 0));
        bytes[at] ^= std::byte{1} << bit;
      }
    }
    EXPECT_GT(turned, flips * 29);
    EXPECT_LT(turned, flips * 35);
  }
}

// Who knows the keys can make two inputs meet; a cache must not rely on nobody doing so.
TEST(IndexHash, ABlindWordHidesItsNeighbour) {
  const IndexHash hash(kSeed);
  const std::uint64_t one[2] = {hash.blind_word(), 1};
  const std::uint64_t two[2] = {hash.blind_word(), 2};
  EXPECT_EQ(hash.piece(one, sizeof(one), 0), hash.piece(two, sizeof(two), 0));
  EXPECT_NE(IndexHash({1, 3}).piece(one, sizeof(one), 0), IndexHash({1, 3}).piece(two, sizeof(two), 0));
}
