// SPDX-License-Identifier: Apache-2.0
//
// The numbers of one row of `elements` elements, by kind (DriftKind says which they are). Pure; nothing is allocated.
#pragma once

#include <cstddef>
#include <string_view>

#include "anya/tensor.h"

namespace anya {

// REQUIRES: a numeric type, at least one element, and of them a multiple of `channels`.
void dense_numbers(DType dtype, const void* row, std::size_t elements, std::size_t channels, bool channels_last,
                   double* out) noexcept;
// REQUIRES: a numeric type, at least one element.
void class_numbers(DType dtype, const void* row, std::size_t elements, double* out) noexcept;
// REQUIRES: int32 or int64.
void token_numbers(DType dtype, const void* row, std::size_t elements, double* out) noexcept;
void text_numbers(const std::string_view* strings, std::size_t count, double* out) noexcept;

}  // namespace anya
