// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "anya/clock.h"
#include "bindings.h"
#include "py_model.h"

namespace anya::python {

enum class Waited : std::uint8_t {
  kEnded,     // the request has its outcome
  kTimedOut,  // `until` has passed
  kRaised,    // a signal handler raised: Python's error is set
};

// Runs `wait` with the GIL released. The GIL comes back by a plain call, not by a destructor: in an interpreter that is
// ending that call ends the thread, which unwinds it, and unwinding out of a destructor would end the process.
template <typename Wait>
auto without_gil(Wait&& wait) {
  PyThreadState* const state = PyEval_SaveThread();
  auto result = wait();
  PyEval_RestoreThread(state);
  return result;
}

// Waits for the outcome with the GIL released, until `until` on the steady clock. GIL held on entry and exit.
Waited wait_for(PyRequest& request, Nanos until);

}  // namespace anya::python
