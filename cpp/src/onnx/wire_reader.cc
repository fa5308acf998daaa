// SPDX-License-Identifier: Apache-2.0
#include "onnx/wire_reader.h"

namespace anya::onnx {

bool WireReader::next_varint(std::uint64_t* value) noexcept {
  if (at_ == end_) return false;
  std::uint64_t result = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (at_ == end_) return fail("ends inside a number");
    const auto byte = std::to_integer<std::uint64_t>(*at_++);
    // The tenth byte has room for one bit; protobuf would drop the others in silence.
    if (shift == 63 && byte > 1) return fail("holds a number of more than 64 bits");
    result |= (byte & 0x7F) << shift;
    if (byte < 0x80) {
      *value = result;
      return true;
    }
  }
  return fail("holds a number of more than 64 bits");
}

bool WireReader::fixed(std::size_t size, std::uint64_t* value) noexcept {
  if (left() < size) return fail("ends inside a number");
  *value = 0;
  for (std::size_t i = 0; i < size; ++i) *value |= std::to_integer<std::uint64_t>(at_[i]) << (8 * i);
  at_ += size;
  return true;
}

bool WireReader::next(Field* field) noexcept {
  std::uint64_t tag = 0;
  if (!next_varint(&tag)) return false;
  if (tag > UINT32_MAX) return fail("has a field number that is too large");
  field->number = static_cast<std::uint32_t>(tag >> 3);
  if (field->number == 0) return fail("has a field of number 0");
  field->value = 0;
  field->bytes = {};
  switch (tag & 7U) {
    case 0:
      field->type = WireType::kVarint;
      return next_varint(&field->value) || (fault_ != nullptr ? false : fail("ends inside a field"));
    case 1:
      field->type = WireType::kFixed64;
      return fixed(8, &field->value);
    case 2: {
      field->type = WireType::kLength;
      std::uint64_t length = 0;
      if (!next_varint(&length)) return fault_ != nullptr ? false : fail("ends inside a field");
      if (length > left()) return fail("has a field that reaches past its end: it is cut off or damaged");
      field->bytes = {at_, static_cast<std::size_t>(length)};
      at_ += length;
      return true;
    }
    case 5:
      field->type = WireType::kFixed32;
      return fixed(4, &field->value);
    default:  // 3 and 4 are groups, which ONNX never had; 6 and 7 do not exist
      return fail("has a field of a type that ONNX files do not have");
  }
}

}  // namespace anya::onnx
