// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "anya/completion_queue.h"
#include "async_call.h"
#include "bindings.h"
#include "py_model.h"

namespace anya::python {

// Between one asyncio loop and the core. Requests of one turn of the loop go in together at its end; what has ended
// comes back through one descriptor that the loop watches, a whole batch per wake-up, and the tasks that waited are
// stepped right there. Used on the loop's own thread only, with the GIL held. Outlives its loop: another loop may
// attach after it.
class EventLoop {
 public:
  // `loop` runs on this thread. Replaces a loop that has been closed.
  void attach(py::object loop) {
    call_soon_ = loop.attr("call_soon");
    loop_ = std::move(loop);
    flush_planned_ = false;
  }
  void bind(py::object flush) { flush_ = std::move(flush); }
  void detach() { call_soon_ = loop_ = flush_ = py::object(); }
  [[nodiscard]] int descriptor() const noexcept { return queue_.descriptor(); }
  [[nodiscard]] std::size_t outstanding() const noexcept { return outstanding_; }
  [[nodiscard]] PyObject* loop() const noexcept { return loop_.ptr(); }

  // Makes the request of a fresh call; it goes in at the end of this turn. False: Python's error is set.
  bool submit(AsyncCall* call);
  void flush();
  // Settles what has ended and wakes who waits. kStep only as a callback of the running loop.
  void drain(Wake how);
  // For a loop that was closed before its turn was over: what it submitted has not been accepted, and never will be.
  void abandon_turn();

  // Whether this loop is known to run on the calling thread right now: a task is being stepped by flush or drain.
  [[nodiscard]] bool is_stepping() const noexcept { return stepping_ == PyThread_get_thread_ident(); }

 private:
  bool plan_flush();
  bool ran_here(Model& model);
  void settle_and_keep(PyRequest* request, const Status& status);
  void wake_settled(Wake how);

  CompletionQueue queue_;
  std::vector<PyRequest*> turn_;  // submitted in this turn of the loop, not in the core yet
  std::vector<Request*> together_;
  std::vector<AsyncCall*> settled_;  // to be woken; each with a reference of its own
  std::size_t outstanding_ = 0;
  unsigned long stepping_ = 0;  // a thread's identity; 0: none
  bool flush_planned_ = false;
  py::object loop_, call_soon_, flush_;
};

}  // namespace anya::python
