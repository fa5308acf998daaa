// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include "anya/tensor.h"

namespace anya::rules {

// Whether no element is NaN or infinite; true for types that have neither. Pure.
[[nodiscard]] bool all_finite(DType dtype, const void* data, std::size_t bytes) noexcept;

}  // namespace anya::rules
