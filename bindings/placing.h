// SPDX-License-Identifier: Apache-2.0
//
// From the arrays that a caller gave to memory that a run may read, by the model's rules.
#pragma once

#include <cstddef>

#include "bindings.h"
#include "py_model.h"
#include "py_request.h"

namespace anya::python {

// What takes about 5 us to copy, check or hash, in bytes: from here on the GIL is released around it.
inline constexpr std::size_t kReleaseFrom = std::size_t{64} << 10U;

// Puts every input of an admitted request in place: points at the caller's array where it is C-contiguous and aligned
// and nothing has to be changed, copies otherwise, and always where `snapshot` says that the caller does not wait.
// Values that have rules are checked in the same pass. False: Python's error is set, a refusal has been counted.
// GIL held; released around copies and checks of kReleaseFrom bytes and more.
bool place_inputs(PyModel& model, PyRequest& request, bool snapshot);

// What was changed on the way in, by input: a new dict, or None. Null: Python's error is set.
PyObject* sanitized_of(const PyRequest& request);

}  // namespace anya::python
