// SPDX-License-Identifier: Apache-2.0
//
// How a question is laid out, in one place: what is hashed, what is kept and what is compared walk the same pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>

#include "anya/cache.h"

namespace anya::cache {

// Kept values begin at multiples of this, as a run may want them.
inline constexpr std::size_t kAlign = 64;
constexpr std::size_t aligned(std::size_t bytes) noexcept { return (bytes + kAlign - 1) / kAlign * kAlign; }

// Calls visit(data, size, starts) for the header, then each input's bytes; a string is two pieces, its length and
// itself, so that no two lists of strings read alike. `starts`: the piece begins an aligned place. Stops when visit
// returns false; returns whether it never did.
template <typename Visit>
bool walk(std::span<const std::byte> header, std::span<const TensorView> inputs, Visit&& visit) {
  if (!visit(header.data(), header.size(), true)) return false;
  for (const TensorView& input : inputs) {
    if (input.dtype != DType::kString) {
      if (!visit(input.data, input.bytes, true)) return false;
      continue;
    }
    const auto* const strings = static_cast<const std::string_view*>(input.data);
    for (std::size_t i = 0; i < input.bytes / sizeof(std::string_view); ++i) {
      const std::uint64_t size = strings[i].size();
      if (!visit(&size, sizeof(size), i == 0) || !visit(strings[i].data(), strings[i].size(), false)) return false;
    }
  }
  return true;
}

// Where the next piece of so many bytes lies, after `end` bytes of a block; moves `end`.
constexpr std::size_t place(std::size_t& end, std::size_t size, bool starts) noexcept {
  const std::size_t at = starts ? aligned(end) : end;
  end = at + size;
  return at;
}

// Writes the header of a question: tenant, outputs, and every input's type, shape and bytes. Lengths come before what
// they count.
void write_header(std::string_view tenant, std::span<const std::uint32_t> outputs, std::span<const TensorView> inputs,
                  std::vector<std::byte>& header);

}  // namespace anya::cache
