// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "anya/drift.h"
#include "bindings.h"

namespace anya::python {

// (bins uint64, [features, 3] uint64 NaN and infinities, [features, 4] float64 sum, squares, min, max; rows answered;
// rows sampled), the first three as bytes.
py::object taken_drift(const DriftCounts& counts);

}  // namespace anya::python
