// SPDX-License-Identifier: Apache-2.0
//
// From the arrays that a caller gave to memory that a run may read, by the model's rules.
#pragma once

#include "bindings.h"
#include "py_model.h"
#include "py_request.h"

namespace anya::python {

// Puts every input of an admitted request in place: points at the caller's array where it is C-contiguous and aligned
// and nothing has to be changed, copies otherwise, and always where `snapshot` says that the caller does not wait.
// Values that have rules are checked in the same pass. False: Python's error is set, a refusal has been counted.
// GIL held; released around copies and checks of more than about 5 us.
bool place_inputs(PyModel& model, PyRequest& request, bool snapshot);

// What was changed on the way in, by input: a new dict, or None. Null: Python's error is set.
PyObject* sanitized_of(const PyRequest& request);

}  // namespace anya::python
