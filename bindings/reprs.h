// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "anya/stats.h"

namespace anya::python {

// What print() shows of a snapshot: one short line of what one looks for first; everything else is an attribute.
std::string repr(const CacheStats& stats);
std::string repr(const CircuitEvent& event);
std::string repr(const CircuitStats& stats);
std::string repr(const HistogramSnapshot& histogram);
std::string repr(const ModelStats& stats);
std::string repr(const RunTime& time);
std::string repr(const TensorCount& count);

std::string_view state_name(CircuitState state) noexcept;

}  // namespace anya::python
