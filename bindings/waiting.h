// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "bindings.h"

#include "anya/clock.h"
#include "py_model.h"

namespace anya::python {

enum class Waited : std::uint8_t {
  kEnded,     // the request has its outcome
  kTimedOut,  // `until` has passed
  kRaised,    // a signal handler raised: Python's error is set
};

// Waits for the outcome with the GIL released, until `until` on the steady clock. GIL held on entry and exit.
Waited wait_for(PyRequest& request, Nanos until);

}  // namespace anya::python
