// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace anya::onnx {

enum class WireType : std::uint8_t { kVarint = 0, kFixed64 = 1, kLength = 2, kFixed32 = 5 };

// One field of a protobuf message: its number and, by wire type, its number or its bytes.
struct Field {
  std::uint32_t number = 0;
  WireType type = WireType::kVarint;
  std::uint64_t value = 0;           // kVarint, kFixed64, kFixed32
  std::span<const std::byte> bytes;  // kLength; inside the message, never copied

  [[nodiscard]] std::string_view text() const noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
};

// Walks over the fields of one protobuf message without a protobuf library, and never past its end.
// Not thread-safe. Borrows the bytes. Does not allocate, does not throw.
class WireReader {
 public:
  explicit WireReader(std::span<const std::byte> bytes) noexcept : at_(bytes.data()), end_(at_ + bytes.size()) {}

  // The next field; false at the end and on a fault, which fault() tells apart.
  bool next(Field* field) noexcept;
  // One bare varint (the body of a packed field); false at the end and on a fault.
  bool next_varint(std::uint64_t* value) noexcept;
  // What was wrong, or null.
  [[nodiscard]] const char* fault() const noexcept { return fault_; }

 private:
  bool fail(const char* fault) noexcept {
    fault_ = fault;
    at_ = end_;
    return false;
  }
  [[nodiscard]] std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - at_); }
  bool fixed(std::size_t size, std::uint64_t* value) noexcept;

  const std::byte* at_;
  const std::byte* end_;
  const char* fault_ = nullptr;
};

}  // namespace anya::onnx
