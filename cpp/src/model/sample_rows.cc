// SPDX-License-Identifier: Apache-2.0
#include "model/sample_rows.h"

#include <cmath>
#include <cstring>
#include <random>
#include <utility>

#include "base/half.h"

namespace anya {
namespace {

constexpr std::uint64_t kSeed = 0x616e7961;
constexpr std::string_view kWords[] = {"yes", "no", "red", "a long day", "zero", "7", "tea", "north"};
constexpr std::uint64_t kSmallIntegers = 100;  // fits every integer type
constexpr float kLargeRow = 4.0F;

Shape sample_shape(const TensorSpec& spec, bool batch_axis, std::int64_t rows, std::int64_t free_size) {
  Shape shape = spec.shape;
  for (std::size_t axis = 0; axis < shape.rank(); ++axis) {
    if (axis == 0 && batch_axis) {
      shape[axis] = rows;
    } else if (shape[axis] < 0) {
      shape[axis] = free_size;
    }
  }
  return shape;
}

// N(0, 1) by Box and Muller: std::normal_distribution differs from library to library.
class Normal {
 public:
  float operator()(std::mt19937_64& random) {
    const double a = (static_cast<double>(random() >> 11) + 1.0) * 0x1p-53;
    const double b = static_cast<double>(random() >> 11) * 0x1p-53;
    return static_cast<float>(std::sqrt(-2.0 * std::log(a)) * std::cos(6.283185307179586 * b));
  }
};

template <typename T>
void put(std::vector<std::byte>* data, std::size_t index, T value) {
  std::memcpy(data->data() + index * sizeof value, &value, sizeof value);
}

void put_element(DType dtype, std::vector<std::byte>* data, std::size_t i, float scale, Integers integers,
                 std::mt19937_64& random) {
  switch (dtype) {
    case DType::kFloat32:
      return put(data, i, scale * Normal()(random));
    case DType::kFloat64:
      return put(data, i, static_cast<double>(scale * Normal()(random)));
    case DType::kFloat16:
      return put(data, i, to_float16(scale * Normal()(random)));
    case DType::kBFloat16:
      return put(data, i, to_bfloat16(scale * Normal()(random)));
    case DType::kString:
      return put(data, i, kWords[random() % std::size(kWords)]);
    default: {  // in the low byte: right for every integer and, as 0 or 1, for booleans
      const bool small = integers == Integers::kSmall && dtype != DType::kBool;
      (*data)[i * element_size(dtype)] = static_cast<std::byte>(random() % (small ? kSmallIntegers : 2));
    }
  }
}

}  // namespace

SampleRows::SampleRows(const ModelSchema& schema, bool batch_axis, std::int64_t rows, std::int64_t free_size,
                       Integers integers) {
  std::mt19937_64 random(kSeed);
  for (const TensorSpec& spec : schema.inputs) {
    Tensor tensor{spec.dtype, sample_shape(spec, batch_axis, rows, free_size), {}};
    std::uint64_t elements = 0;
    if (!tensor.shape.element_count(&elements)) elements = 0;
    tensor.data.resize(static_cast<std::size_t>(elements) * element_size(spec.dtype));
    const std::size_t per_row =
        batch_axis && rows > 0 ? static_cast<std::size_t>(elements) / static_cast<std::size_t>(rows) : 0;
    for (std::size_t i = 0; i < elements && element_size(spec.dtype) != 0; ++i) {
      const bool large = per_row != 0 && i / per_row == 1;
      put_element(spec.dtype, &tensor.data, i, large ? kLargeRow : 1.0F, integers, random);
    }
    tensors_.push_back(std::move(tensor));
  }
}

std::uint64_t SampleRows::bytes_needed(const ModelSchema& schema, bool batch_axis, std::int64_t rows,
                                       std::int64_t free_size) {
  std::uint64_t total = 0;
  for (const TensorSpec& spec : schema.inputs) {
    std::uint64_t elements = 0;
    std::uint64_t bytes = 0;
    if (!sample_shape(spec, batch_axis, rows, free_size).element_count(&elements) ||
        __builtin_mul_overflow(elements, element_size(spec.dtype), &bytes) ||
        __builtin_add_overflow(total, bytes, &total)) {
      return UINT64_MAX;
    }
  }
  return total;
}

SampleRows SampleRows::pick(std::span<const std::size_t> rows) const {
  SampleRows picked;
  for (const Tensor& tensor : tensors_) {
    const std::size_t row_bytes = tensor.data.size() / static_cast<std::size_t>(tensor.shape[0]);
    Tensor part{tensor.dtype, tensor.shape, std::vector<std::byte>(row_bytes * rows.size())};
    part.shape[0] = static_cast<std::int64_t>(rows.size());
    for (std::size_t i = 0; i < rows.size() && row_bytes != 0; ++i) {
      std::memcpy(part.data.data() + i * row_bytes, tensor.data.data() + rows[i] * row_bytes, row_bytes);
    }
    picked.tensors_.push_back(std::move(part));
  }
  return picked;
}

std::vector<TensorView> SampleRows::views() const {
  std::vector<TensorView> views;
  for (const Tensor& tensor : tensors_) {
    views.push_back({tensor.dtype, tensor.shape, tensor.data.data(), tensor.data.size()});
  }
  return views;
}

}  // namespace anya
