// SPDX-License-Identifier: Apache-2.0
#include "rules/finite.h"

#include <cstdint>
#include <cstring>

namespace anya::rules {
namespace {

// Not finite: all bits of the exponent are set. Without a branch, so that it becomes vector code.
template <typename Bits>
bool finite(const void* data, std::size_t bytes, Bits exponent) noexcept {
  const auto* at = static_cast<const std::byte*>(data);
  Bits odd = 0;
  for (std::size_t i = 0; i < bytes / sizeof(Bits); ++i) {
    Bits value;
    std::memcpy(&value, at + i * sizeof(Bits), sizeof(Bits));
    odd = static_cast<Bits>(odd | static_cast<Bits>((value & exponent) == exponent));
  }
  return odd == 0;
}

}  // namespace

bool all_finite(DType dtype, const void* data, std::size_t bytes) noexcept {
  switch (dtype) {
    case DType::kFloat32:
      return finite<std::uint32_t>(data, bytes, 0x7F80'0000U);
    case DType::kFloat64:
      return finite<std::uint64_t>(data, bytes, 0x7FF0'0000'0000'0000U);
    case DType::kFloat16:
      return finite<std::uint16_t>(data, bytes, 0x7C00U);
    case DType::kBFloat16:
      return finite<std::uint16_t>(data, bytes, 0x7F80U);
    default:
      return true;
  }
}

}  // namespace anya::rules
