// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anya/tensor.h"

namespace anya {

// What made-up integers are. Bits are safe as an index of anything; numbers below a hundred look more like the tokens,
// bytes and counts that models are made for, but where an index is not checked (CUDA) they may reach outside a table.
// Ones and twos tell whether an integer is a size.
enum class Integers { kBits, kSmall, kOnes, kTwos };

// Made-up rows for a model: floats N(0, 1), integers, booleans, strings of short words. By its number, a row is of one
// of eight kinds: usual ones, one four times as large (a scale taken over a batch shows), one of large positive numbers
// and one of large negative ones (so does a threshold), one of small numbers, one of zeros and empty strings. A row is
// the same however many there are. Immutable after construction: thread-safe. Owns its memory; views point into it.
class SampleRows {
 public:
  static constexpr std::size_t kKinds = 8;
  // How large the floats of a row are, against those of usual ones; 1 at least.
  static float magnitude(std::size_t row) noexcept;
  // The row to put into a place of a run that is wider than there are kinds. In kKinds turns every place has every
  // kind, outsized ones first; every eight places begin with another.
  static std::size_t kind_at(std::size_t place, std::size_t turn) noexcept;

  // With `batch_axis`, axis 0 of every input has `rows`; every other free dimension has `free_size`. So all dimensions
  // of one name have one size.
  SampleRows(const ModelSchema& schema, bool batch_axis, std::int64_t rows, std::int64_t free_size, Integers integers);

  // Bytes that such rows would take; UINT64_MAX when they cannot be counted.
  static std::uint64_t bytes_needed(const ModelSchema& schema, bool batch_axis, std::int64_t rows,
                                    std::int64_t free_size);

  // The same rows, some of them, in this order. REQUIRES: made with batch_axis.
  [[nodiscard]] SampleRows pick(std::span<const std::size_t> rows) const;
  // One per input, in schema order; valid as long as this object stays where it is.
  [[nodiscard]] std::vector<TensorView> views() const;

 private:
  struct Tensor {
    DType dtype = DType::kUndefined;
    Shape shape;
    std::vector<std::byte> data;  // strings: std::string_view elements, of literals
  };
  SampleRows() = default;

  std::vector<Tensor> tensors_;
};

}  // namespace anya
