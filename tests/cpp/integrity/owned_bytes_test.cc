// SPDX-License-Identifier: Apache-2.0
#include "integrity/owned_bytes.h"

#include <cstdint>
#include <cstring>

#include "support/check.h"

using anya::ErrorCode;
using anya::integrity::OwnedBytes;

namespace {
constexpr std::size_t kHugePage = std::size_t{2} << 20;
}  // namespace

TEST(OwnedBytes, HoldsExactlyWhatWasAskedForZeroed) {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{4097}, kHugePage - 1, kHugePage,
                                 kHugePage + 1, 3 * kHugePage - 5}) {
    OwnedBytes bytes(size);
    EXPECT_EQ(bytes.size(), size);
    EXPECT_EQ(bytes.writable().size(), size);
    for (const std::byte byte : bytes.bytes()) {
      if (byte != std::byte{0}) EXPECT_EQ(static_cast<int>(byte), 0);
    }
    if (size != 0) std::memset(bytes.writable().data(), 7, size);  // to its last byte
  }
}

TEST(OwnedBytes, LargeMemoryBeginsWithAHugePage) {
  for (int i = 0; i < 8; ++i) {  // wherever the kernel puts it
    const OwnedBytes small(kHugePage - 4096 * static_cast<std::size_t>(i) - 1);
    const OwnedBytes large(kHugePage + 4096 * static_cast<std::size_t>(i) + 1);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(large.bytes().data()) % kHugePage, 0u);
  }
}

TEST(OwnedBytes, MovesItsMemoryAndItsLength) {
  OwnedBytes from(kHugePage + 3);
  std::memset(from.writable().data(), 5, from.size());
  const std::byte* const where = from.bytes().data();
  OwnedBytes to(std::move(from));
  EXPECT_EQ(to.bytes().data() == where, true);
  to = OwnedBytes(9);
  EXPECT_EQ(to.size(), 9u);
  to = OwnedBytes();
  EXPECT_EQ(to.size(), 0u);
}

TEST(OwnedBytes, MoreThanThereIsOrCanBeIsATypedError) {
  for (const std::size_t size : {SIZE_MAX, SIZE_MAX - kHugePage, SIZE_MAX / 2}) {
    EXPECT_ERROR(ErrorCode::kOutOfMemory, OwnedBytes{size});
  }
}
