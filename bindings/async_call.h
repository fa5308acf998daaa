// SPDX-License-Identifier: Apache-2.0
//
// What `await engine.infer_async(...)` awaits.
#pragma once

#include <cstdint>

#include "anya/status.h"
#include "bindings.h"
#include "py_model.h"

namespace anya::python {

class EventLoop;

// The loop that runs on this thread, served by the door's engine. Null: Python's error is set (there is none).
EventLoop* running_loop(PyObject* door);

// The coroutine of one awaited request and, in the same object, the future that asyncio's task waits on: with the
// outcome at hand, `settle` and `wake` step the task itself, so an answer costs the loop neither a Future nor a Handle.
//
// As a coroutine (collections.abc.Coroutine) it may be awaited, sent to, wrapped in a task, closed; nothing is asked
// before its first step. As a future it is what asyncio.Task asks of one: `_asyncio_future_blocking`, get_loop,
// add_done_callback, cancel, result. A Python object, collected by the cycle collector; used on its loop's thread only,
// with the GIL held. The request it waits for keeps it alive.
struct AsyncCall {
  enum class State : std::uint8_t {
    kFresh,    // nothing asked yet
    kPending,  // asked; `request` is the engine's
    kSettled,  // the outcome is here, to be fetched by the next step
    kOver,     // returned, raised or closed
  };

  PyObject ob_base;
  PyObject* door;                       // the AsyncDoor that made it
  PyObject* model;                      // the Model asked
  PyObject* arguments[kCallArguments];  // as make_request takes them; gone after the first step
  PyObject* loop;                       // asyncio's; from the first step on
  PyObject* wakeup;                     // the task's step; null: nobody waits
  PyObject* context;                    // to call it in
  PyObject* outcome;                    // an answer or an exception
  PyObject* inputs;                     // what was asked, where it failed and `keeps_inputs`
  PyRequest* request;                   // while pending
  State state;
  bool detailed;
  bool keeps_inputs;
  bool blocking;   // asyncio's handshake: yielded by an await, not by mistake
  bool failed;     // `outcome` is an exception
  bool cancelled;  // by its task: the outcome is CancelledError
};

// A fresh call. Steals nothing. Null: Python's error is set.
PyObject* make_async_call(PyObject* door, PyObject* model, PyObject* const* arguments, bool detailed);

// Takes the outcome of its request: from now on it can be stepped. The request goes back to its pool.
void settle(PyRequest* request, const Status& status) noexcept;

enum class Wake : std::uint8_t {
  kStep,      // step the task here and now: from a callback of its loop, where no task is running
  kSchedule,  // let the loop do it in its next turn
};
// Wakes who waits for a settled call. False: Python's error is set; it came out of the task (an interrupt, an exit).
[[nodiscard]] bool wake(AsyncCall* call, Wake how);

void register_async_call(py::module_& module);

}  // namespace anya::python
