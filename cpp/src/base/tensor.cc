// SPDX-License-Identifier: Apache-2.0
#include "anya/tensor.h"

namespace anya {

std::size_t element_size(DType dtype) noexcept {
  switch (dtype) {
    case DType::kUInt8:
    case DType::kInt8:
    case DType::kBool:
      return 1;
    case DType::kUInt16:
    case DType::kInt16:
    case DType::kFloat16:
    case DType::kBFloat16:
      return 2;
    case DType::kFloat32:
    case DType::kInt32:
    case DType::kUInt32:
      return 4;
    case DType::kFloat64:
    case DType::kInt64:
    case DType::kUInt64:
      return 8;
    case DType::kString:
      return sizeof(std::string_view);
    case DType::kUndefined:
      return 0;
  }
  return 0;
}

std::string_view dtype_name(DType dtype) noexcept {
  switch (dtype) {
    case DType::kFloat32:
      return "float32";
    case DType::kUInt8:
      return "uint8";
    case DType::kInt8:
      return "int8";
    case DType::kUInt16:
      return "uint16";
    case DType::kInt16:
      return "int16";
    case DType::kInt32:
      return "int32";
    case DType::kInt64:
      return "int64";
    case DType::kString:
      return "str";
    case DType::kBool:
      return "bool";
    case DType::kFloat16:
      return "float16";
    case DType::kFloat64:
      return "float64";
    case DType::kUInt32:
      return "uint32";
    case DType::kUInt64:
      return "uint64";
    case DType::kBFloat16:
      return "bfloat16";
    case DType::kUndefined:
      return "undefined";
  }
  return "undefined";
}

bool Shape::element_count(std::uint64_t* count, std::size_t from) const noexcept {
  // A zero later on must not hide an overflow or a negative dimension: every dimension is looked at.
  std::uint64_t product = 1;
  for (std::size_t axis = from; axis < rank_; ++axis) {
    if (dims_[axis] < 0) return false;
    if (__builtin_mul_overflow(product, static_cast<std::uint64_t>(dims_[axis]), &product)) return false;
  }
  *count = product;
  return true;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (std::size_t axis = 0; axis < rank_; ++axis) {
    if (axis != 0) text += ", ";
    text += dims_[axis] == -1 ? "?" : std::to_string(dims_[axis]);
  }
  return text + "]";
}

}  // namespace anya
