// SPDX-License-Identifier: Apache-2.0
//
// What a model's schema says about rows. PURE; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "anya/tensor.h"

namespace anya {

struct BatchAxis {
  bool batchable = false;  // axis 0 of every input and output may count rows
  std::string reason;      // one sentence: why, or why not
};

// Every input and every output has a free first dimension, no two inputs call theirs differently, and no other axis has
// the same name. Shapes alone cannot say whether rows depend on each other: see row_check.h.
BatchAxis decide_batch_axis(const ModelSchema& schema);

// Whether the shape of this output follows from the rows (or, without a batch axis, is fixed): then its memory can be
// made ready before a run. Strings never: the session makes them.
bool shape_follows(const TensorSpec& output, bool batch_axis);

// The shape it then has.
Shape shape_for_rows(const TensorSpec& output, bool batch_axis, std::int64_t rows);

}  // namespace anya
