// SPDX-License-Identifier: Apache-2.0
//
// A tiny protobuf writer, to make ONNX files by hand: well-formed ones and ones that no library would write.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace anya::test {

// One message; every call adds a field. A finished message is its str().
class Wire {
 public:
  Wire& varint(std::uint32_t field, std::uint64_t value) { return tag(field, 0).raw_varint(value); }
  Wire& fixed64(std::uint32_t field, std::uint64_t value) { return tag(field, 1).little_endian(value, 8); }
  Wire& fixed32(std::uint32_t field, std::uint32_t value) { return tag(field, 5).little_endian(value, 4); }
  Wire& bytes(std::uint32_t field, std::string_view body) {
    tag(field, 2).raw_varint(body.size());
    out_ += body;
    return *this;
  }
  Wire& message(std::uint32_t field, const Wire& body) { return bytes(field, body.out_); }
  Wire& tag(std::uint32_t field, std::uint32_t wire_type) {
    return raw_varint((std::uint64_t{field} << 3) | wire_type);
  }
  Wire& raw(std::string_view text) {
    out_ += text;
    return *this;
  }
  Wire& raw_varint(std::uint64_t value) {
    while (value >= 0x80) {
      out_ += static_cast<char>((value & 0x7F) | 0x80);
      value >>= 7;
    }
    out_ += static_cast<char>(value);
    return *this;
  }

  [[nodiscard]] const std::string& str() const { return out_; }
  [[nodiscard]] std::span<const std::byte> span() const { return std::as_bytes(std::span(out_.data(), out_.size())); }

 private:
  Wire& little_endian(std::uint64_t value, int size) {
    for (int i = 0; i < size; ++i) out_ += static_cast<char>((value >> (8 * i)) & 0xFF);
    return *this;
  }
  std::string out_;
};

inline std::span<const std::byte> as_span(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// The ONNX messages the tests need, by their field numbers.
namespace wire {

inline constexpr std::uint64_t kFloat = 1;
inline constexpr std::uint64_t kBool = 9;

inline Wire tensor(std::string_view name, std::uint64_t type, std::initializer_list<std::int64_t> dims,
                   std::string_view raw) {
  Wire out;
  for (const std::int64_t dim : dims) out.varint(1, static_cast<std::uint64_t>(dim));
  out.varint(2, type).bytes(8, name).bytes(9, raw);
  return out;
}
inline Wire entry(std::string_view key, std::string_view value) { return Wire().bytes(1, key).bytes(2, value); }
// A float tensor of dims [2] whose eight bytes lie elsewhere.
inline Wire external(std::string_view name, std::string_view location) {
  return Wire().varint(1, 2).varint(2, kFloat).bytes(8, name).message(13, entry("location", location)).varint(14, 1);
}
inline Wire node(std::string_view type, std::initializer_list<std::string_view> inputs,
                 std::initializer_list<std::string_view> outputs, std::string_view domain = "") {
  Wire out;
  for (const std::string_view input : inputs) out.bytes(1, input);
  for (const std::string_view output : outputs) out.bytes(2, output);
  out.bytes(4, type);
  if (!domain.empty()) out.bytes(7, domain);
  return out;
}
// A float value with one free dimension `symbol` and one of 2.
inline Wire value(std::string_view name, std::string_view symbol = "N") {
  const Wire shape = Wire().message(1, Wire().bytes(2, symbol)).message(1, Wire().varint(1, 2));
  const Wire tensor_type = Wire().varint(1, kFloat).message(2, shape);
  return Wire().bytes(1, name).message(2, Wire().message(1, tensor_type));
}
inline Wire model(const Wire& graph, std::int64_t opset = 17) {
  return Wire().varint(1, 8).bytes(2, "hand").message(7, graph).message(
      8, Wire().bytes(1, "").varint(2, static_cast<std::uint64_t>(opset)));
}
// y = x + b, with b of two floats inside the file.
inline Wire add_graph() {
  return Wire()
      .message(1, node("Add", {"x", "b"}, {"y"}))
      .bytes(2, "g")
      .message(5, tensor("b", kFloat, {2}, std::string_view("\0\0\x80\x3f\0\0\0\x40", 8)))
      .message(11, value("x"))
      .message(12, value("y"));
}

}  // namespace wire
}  // namespace anya::test
