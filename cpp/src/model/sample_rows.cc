// SPDX-License-Identifier: Apache-2.0
#include "model/sample_rows.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <utility>

#include "base/half.h"

namespace anya {
namespace {

constexpr std::uint64_t kSeed = 0x616e7961;
constexpr std::uint64_t kInputStep = std::uint64_t{1} << 32;  // between the seeds of two inputs
constexpr std::string_view kWords[] = {"yes", "no", "red", "a long day", "zero", "7", "tea", "north"};
constexpr std::uint64_t kSmallIntegers = 100;  // fits every integer type

// What becomes of a number of N(0, 1): its size, and the sign, where it is not its own.
struct Kind {
  float scale;
  int sign;
};
constexpr std::array<Kind, SampleRows::kKinds> kKind = {
    {{1, 0}, {4, 0}, {1, 0}, {1, 0}, {10, 1}, {10, -1}, {0.1F, 0}, {0, 0}}};

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
  float operator()(Kind kind, std::mt19937_64& random) {
    const double a = (static_cast<double>(random() >> 11) + 1.0) * 0x1p-53;
    const double b = static_cast<double>(random() >> 11) * 0x1p-53;
    const auto normal = static_cast<float>(std::sqrt(-2.0 * std::log(a)) * std::cos(6.283185307179586 * b));
    if (kind.sign != 0) return kind.scale * static_cast<float>(kind.sign) * std::abs(normal);
    return kind.scale * normal + 0.0F;  // no negative zero
  }
};

template <typename T>
void put(std::vector<std::byte>* data, std::size_t index, T value) {
  std::memcpy(data->data() + index * sizeof value, &value, sizeof value);
}

void put_element(DType dtype, std::vector<std::byte>* data, std::size_t i, Kind kind, Integers integers,
                 std::mt19937_64& random) {
  switch (dtype) {
    case DType::kFloat32:
      return put(data, i, Normal()(kind, random));
    case DType::kFloat64:
      return put(data, i, static_cast<double>(Normal()(kind, random)));
    case DType::kFloat16:
      return put(data, i, to_float16(Normal()(kind, random)));
    case DType::kBFloat16:
      return put(data, i, to_bfloat16(Normal()(kind, random)));
    case DType::kString:
      return put(data, i, kind.scale == 0 ? std::string_view() : kWords[random() % std::size(kWords)]);
    default: {  // in the low byte: right for every integer and, as 0 or 1, for booleans
      std::uint64_t value = random();
      value %= integers == Integers::kSmall && dtype != DType::kBool ? kSmallIntegers : 2;
      if (dtype != DType::kBool && integers == Integers::kOnes) value = 1;
      if (dtype != DType::kBool && integers == Integers::kTwos) value = 2;
      (*data)[i * element_size(dtype)] = static_cast<std::byte>(value);
    }
  }
}

}  // namespace

SampleRows::SampleRows(const ModelSchema& schema, bool batch_axis, std::int64_t rows, std::int64_t free_size,
                       Integers integers) {
  std::uint64_t seed = kSeed;
  for (const TensorSpec& spec : schema.inputs) {
    Tensor tensor{spec.dtype, sample_shape(spec, batch_axis, rows, free_size), {}};
    std::uint64_t elements = 0;
    if (!tensor.shape.element_count(&elements)) elements = 0;
    tensor.data.resize(static_cast<std::size_t>(elements) * element_size(spec.dtype));
    if (element_size(spec.dtype) == 0) elements = 0;
    const std::size_t count = batch_axis && rows > 0 ? static_cast<std::size_t>(rows) : 1;
    const std::size_t per_row = static_cast<std::size_t>(elements) / count;
    for (std::size_t row = 0; row < count; ++row) {
      std::mt19937_64 random(seed + row);
      for (std::size_t i = row * per_row; i < (row + 1) * per_row; ++i) {
        put_element(spec.dtype, &tensor.data, i, kKind[row % kKinds], integers, random);
      }
    }
    seed += kInputStep;
    tensors_.push_back(std::move(tensor));
  }
}

float SampleRows::magnitude(std::size_t row) noexcept { return std::max(1.0F, kKind[row % kKinds].scale); }

std::size_t SampleRows::kind_at(std::size_t place, std::size_t turn) noexcept {
  constexpr std::array<std::size_t, kKinds> kOrder = {4, 0, 5, 1, 7, 2, 6, 3};
  return kOrder[(place + 3 * (place / kKinds) + 2 * turn + turn / 4) % kKinds];
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
  views.reserve(tensors_.size());
  for (const Tensor& tensor : tensors_) {
    views.push_back({tensor.dtype, tensor.shape, tensor.data.data(), tensor.data.size()});
  }
  return views;
}

}  // namespace anya
