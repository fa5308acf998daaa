// SPDX-License-Identifier: Apache-2.0
//
// What goes into a model and what comes out: element types, shapes, borrowed and specified tensors.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace anya {

// The element types we run. Values are ONNX's own (TensorProto.DataType), which ONNX Runtime shares.
enum class DType : std::uint8_t {
  kUndefined = 0,
  kFloat32 = 1,
  kUInt8 = 2,
  kInt8 = 3,
  kUInt16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kFloat64 = 11,
  kUInt32 = 12,
  kUInt64 = 13,
  kBFloat16 = 16,
};

// Bytes of one element as the core holds it; a string element is a std::string_view. 0: not a type we run.
std::size_t element_size(DType dtype) noexcept;
// NumPy's name ("float32", "str" for strings, "bfloat16"), "undefined" for anything else.
std::string_view dtype_name(DType dtype) noexcept;

inline constexpr std::size_t kMaxRank = 16;

// A shape held in place. -1 is a dimension that is not fixed (in specifications only).
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> dims) noexcept : Shape(std::span(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const std::int64_t> dims) noexcept : rank_(static_cast<std::uint8_t>(dims.size())) {
    for (std::size_t i = 0; i < rank_; ++i) dims_[i] = dims[i];
  }

  [[nodiscard]] std::size_t rank() const noexcept { return rank_; }
  [[nodiscard]] std::int64_t operator[](std::size_t axis) const noexcept { return dims_[axis]; }
  std::int64_t& operator[](std::size_t axis) noexcept { return dims_[axis]; }
  [[nodiscard]] const std::int64_t* data() const noexcept { return dims_.data(); }
  [[nodiscard]] std::span<const std::int64_t> dims() const noexcept { return {dims_.data(), rank_}; }
  friend bool operator==(const Shape& a, const Shape& b) noexcept {
    if (a.rank_ != b.rank_) return false;
    for (std::size_t i = 0; i < a.rank_; ++i) {
      if (a.dims_[i] != b.dims_[i]) return false;
    }
    return true;
  }

  // Elements, by checked multiplication: false on a negative dimension or overflow. Elements from axis `from` on.
  [[nodiscard]] bool element_count(std::uint64_t* count, std::size_t from = 0) const noexcept;
  [[nodiscard]] std::string to_string() const;  // "[2, 3]", "?" for -1

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  std::uint8_t rank_ = 0;
};

// Borrowed, C-contiguous, native byte order. Strings: `data` points at std::string_view elements.
struct TensorView {
  DType dtype = DType::kUndefined;
  Shape shape;
  const void* data = nullptr;
  std::size_t bytes = 0;  // elements * element_size
};

// What a model says of one of its inputs or outputs.
struct TensorSpec {
  std::string name;
  DType dtype = DType::kUndefined;
  Shape shape;                       // -1 where not fixed
  std::vector<std::string> symbols;  // one per axis; "" where there is none
  bool ranked = true;                // false: the model does not say how many axes there are; `shape` is empty then
  friend bool operator==(const TensorSpec&, const TensorSpec&) = default;
};

struct ModelSchema {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
};

}  // namespace anya
