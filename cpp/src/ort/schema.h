// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "anya/tensor.h"
#include "ort/api.h"

namespace anya::ort {

// What a session says of its inputs and outputs. Throws kModelInvalid, naming it, for one that is no tensor (sequence,
// map, optional), has an element type we do not run, or more than kMaxRank axes.
ModelSchema read_schema(const Api& api, const RawSession* session, RawAllocator* allocator);

}  // namespace anya::ort
