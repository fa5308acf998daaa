// SPDX-License-Identifier: Apache-2.0
#include "onnx/tensor_walk.h"

#include <array>
#include <charconv>

#include "base/text.h"
#include "onnx/wire_reader.h"

namespace anya::onnx {
namespace {

// Numbers of TensorProto's fields.
enum : std::uint32_t {
  kDims = 1,
  kDataType = 2,
  kFloatData = 4,
  kInt32Data = 5,
  kStringData = 6,
  kInt64Data = 7,
  kName = 8,
  kRawData = 9,
  kDoubleData = 10,
  kUint64Data = 11,
  kExternalData = 13,
  kDataLocation = 14,
};

// How a type is stored: its width, the typed field it may use instead of raw_data, values of that field per element.
struct Storage {
  unsigned bits = 0;
  std::uint32_t field = 0;  // 0: the count is not checked (several elements share a value)
  unsigned values = 1;
};
constexpr std::array<Storage, 27> kStorage = {{
    {},  // undefined
    {32, kFloatData},
    {8, kInt32Data},
    {8, kInt32Data},  // float, uint8, int8
    {16, kInt32Data},
    {16, kInt32Data},
    {32, kInt32Data},  // uint16, int16, int32
    {64, kInt64Data},
    {0, kStringData},
    {8, kInt32Data},  // int64, string, bool
    {16, kInt32Data},
    {64, kDoubleData},
    {32, kUint64Data},  // float16, double, uint32
    {64, kUint64Data},
    {64, kFloatData, 2},
    {128, kDoubleData, 2},  // uint64, complex64, complex128
    {16, kInt32Data},       // bfloat16
    {8, kInt32Data},
    {8, kInt32Data},
    {8, kInt32Data},
    {8, kInt32Data},  // four kinds of float8
    {4, 0},
    {4, 0},
    {4, 0},           // uint4, int4, float4
    {8, kInt32Data},  // float8e8m0
    {2, 0},
    {2, 0},  // uint2, int2
}};

Storage storage_of(std::int32_t data_type) noexcept {
  if (data_type < 0 || static_cast<std::size_t>(data_type) >= kStorage.size()) return {};
  return kStorage[static_cast<std::size_t>(data_type)];
}

std::string parse_count(std::string_view key, std::string_view text, std::uint64_t* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  if (error == std::errc() && end == text.data() + text.size() && *value <= INT64_MAX) return {};
  return "has the external " + std::string(key) + " " + quoted(text, 40) + ", which is no byte count";
}

// Reads one tensor; every member function returns what is wrong, or "".
class TensorWalk {
 public:
  explicit TensorWalk(TensorFacts* facts) : facts_(*facts) {}

  std::string run(std::span<const std::byte> bytes) {
    WireReader reader(bytes);
    Field field;
    while (reader.next(&field)) {
      std::string fault = take(field);
      if (!fault.empty()) return fault;
    }
    if (reader.fault() != nullptr) return reader.fault();
    return judge();
  }

 private:
  std::string take(const Field& field) {
    const bool length = field.type == WireType::kLength;
    switch (field.number) {
      case kDims:
        if (length) return packed_dims(field);
        return field.type == WireType::kVarint ? dim(field.value) : wrong_type();
      case kDataType:
        if (field.type != WireType::kVarint) return wrong_type();
        facts_.data_type = static_cast<std::int32_t>(field.value);  // as protobuf: the low half
        return {};
      case kFloatData:
        return count_fixed(field, WireType::kFixed32, 4);
      case kDoubleData:
        return count_fixed(field, WireType::kFixed64, 8);
      case kInt32Data:
      case kInt64Data:
      case kUint64Data:
        return count_varints(field);
      case kStringData:
        if (!length) return wrong_type();
        ++counts_[kStringData];
        return {};
      case kName:
        if (!length) return wrong_type();
        facts_.name = field.text();
        return {};
      case kRawData:
        if (!length) return wrong_type();
        raw_ = field.bytes;
        return {};
      case kExternalData:
        return length ? external_entry(field.bytes) : wrong_type();
      case kDataLocation: {
        if (field.type != WireType::kVarint) return wrong_type();
        const auto location = static_cast<std::int32_t>(field.value);
        if (location != 0 && location != 1) return "keeps its data in a place that ONNX does not know";
        facts_.external = location == 1;
        return {};
      }
      default:
        return {};
    }
  }

  static std::string wrong_type() { return "has a field of the wrong wire type"; }

  std::string dim(std::uint64_t raw) {
    const auto value = static_cast<std::int64_t>(raw);
    if (value < 0) return "has the negative dimension " + std::to_string(value);
    if (value == 0) {
      empty_ = true;  // a zero does not hide an overflow: the others are still multiplied
    } else if (__builtin_mul_overflow(facts_.elements, raw, &facts_.elements)) {
      return "has dimensions whose product is more than 64 bits hold";
    }
    return {};
  }

  std::string packed_dims(const Field& field) {
    WireReader body(field.bytes);
    std::uint64_t value = 0;
    while (body.next_varint(&value)) {
      std::string fault = dim(value);
      if (!fault.empty()) return fault;
    }
    return body.fault() == nullptr ? "" : body.fault();
  }

  std::string count_fixed(const Field& field, WireType single, std::size_t size) {
    if (field.type == single) {
      ++counts_[field.number];
    } else if (field.type == WireType::kLength && field.bytes.size() % size == 0) {
      counts_[field.number] += field.bytes.size() / size;
    } else {
      return "has data that is cut off inside a number";
    }
    return {};
  }

  std::string count_varints(const Field& field) {
    if (field.type == WireType::kVarint) {
      ++counts_[field.number];
      nonzero_ = nonzero_ || field.value != 0;
      return {};
    }
    if (field.type != WireType::kLength) return wrong_type();
    WireReader body(field.bytes);
    std::uint64_t value = 0;
    while (body.next_varint(&value)) {
      ++counts_[field.number];
      nonzero_ = nonzero_ || value != 0;
    }
    return body.fault() == nullptr ? "" : body.fault();
  }

  // StringStringEntryProto{1: key, 2: value}
  std::string external_entry(std::span<const std::byte> bytes) {
    has_entries_ = true;
    std::string_view key;
    std::string_view value;
    WireReader reader(bytes);
    Field field;
    while (reader.next(&field)) {
      if (field.type != WireType::kLength) return wrong_type();
      if (field.number == 1) key = field.text();
      if (field.number == 2) value = field.text();
    }
    if (reader.fault() != nullptr) return reader.fault();
    if (key == "location") {
      if (has_location_) return "names two external locations";
      has_location_ = true;
      facts_.location = value;
      return {};
    }
    if (key == "offset") {
      if (has_offset_) return "names two external offsets";
      has_offset_ = true;
      return parse_count(key, value, &facts_.offset);
    }
    if (key == "length") {
      if (facts_.length) return "names two external lengths";
      return parse_count(key, value, &facts_.length.emplace());
    }
    if (key == "checksum") return {};  // SHA-1, optional, nobody's word: the model's digest covers the bytes
    return "has the external key " + quoted(key, 40) + "; only location, offset, length and checksum are read";
  }

  std::string judge() {
    if (empty_) facts_.elements = 0;
    const Storage storage = storage_of(facts_.data_type);
    if (storage.bits != 0) {
      std::uint64_t bits = 0;
      if (__builtin_mul_overflow(facts_.elements, std::uint64_t{storage.bits}, &bits)) {
        return "has dimensions whose size in bytes is more than 64 bits hold";
      }
      facts_.bytes = bits / 8 + (bits % 8 != 0 ? 1 : 0);
    }
    if (facts_.external) return judge_external();
    if (has_entries_) return "names external data without saying that its data is external";
    if (facts_.data_type == 0) return {};  // no type, no data: ONNX Runtime says what it thinks of it
    if (raw_) return judge_raw(*raw_);
    const bool checked = storage.field != 0;
    std::uint64_t expected = 0;
    if (checked && __builtin_mul_overflow(facts_.elements, std::uint64_t{storage.values}, &expected)) {
      return "has dimensions whose product is more than 64 bits hold";
    }
    if (checked && counts_[storage.field] != expected) {
      return "holds " + std::to_string(counts_[storage.field]) + " values where its dimensions ask for " +
             std::to_string(expected);
    }
    facts_.is_false = facts_.data_type == 9 && facts_.elements == 1 && !nonzero_;
    return {};
  }

  std::string judge_external() {
    if (!has_location_ || facts_.location.empty()) return "is external but names no location";
    if (facts_.location.find("_ORT_MEM_ADDR_") != std::string_view::npos) {
      return "names an address in memory as its location, which only ONNX Runtime itself may do";
    }
    if (facts_.data_type == 8) return "keeps strings in an external file, which ONNX does not allow";
    if (facts_.length && facts_.bytes && *facts_.length != *facts_.bytes) {
      return "has " + std::to_string(*facts_.length) + " external bytes where its type and dimensions ask for " +
             std::to_string(*facts_.bytes);
    }
    return {};
  }

  std::string judge_raw(std::span<const std::byte> raw) {
    if (facts_.data_type == 8) return "keeps strings as raw bytes, which ONNX does not allow";
    if (facts_.bytes && raw.size() != *facts_.bytes) {
      return "holds " + std::to_string(raw.size()) + " raw bytes where its type and dimensions ask for " +
             std::to_string(*facts_.bytes);
    }
    facts_.is_false = facts_.data_type == 9 && facts_.elements == 1 && raw.front() == std::byte{0};
    return {};
  }

  TensorFacts& facts_;
  std::array<std::uint64_t, kUint64Data + 1> counts_{};  // values by field
  std::optional<std::span<const std::byte>> raw_;
  bool empty_ = false;
  bool nonzero_ = false;
  bool has_entries_ = false;
  bool has_location_ = false;
  bool has_offset_ = false;
};

}  // namespace

unsigned element_bits(std::int32_t data_type) noexcept { return storage_of(data_type).bits; }

std::string walk_tensor(std::span<const std::byte> bytes, TensorFacts* facts) { return TensorWalk(facts).run(bytes); }

}  // namespace anya::onnx
