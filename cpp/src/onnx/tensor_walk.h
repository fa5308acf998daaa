// SPDX-License-Identifier: Apache-2.0
//
// One TensorProto: what it claims, and whether what it carries is what it claims.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace anya::onnx {

// Bits of one element by TensorProto.DataType; 0 where the size is not fixed (strings) or the type is unknown.
unsigned element_bits(std::int32_t data_type) noexcept;

struct TensorFacts {
  std::string_view name;  // in the file's bytes
  std::int32_t data_type = 0;
  std::uint64_t elements = 1;
  std::optional<std::uint64_t> bytes;  // what type and dimensions ask for
  bool external = false;
  std::string_view location;
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;
  bool is_false = false;  // one element, of type bool, false
};

// Fills `facts`. Returns what is wrong with the tensor, or "" when nothing is. Pure; thread-safe.
std::string walk_tensor(std::span<const std::byte> bytes, TensorFacts* facts);

}  // namespace anya::onnx
