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
    ready_ = py::getattr(loop, "_ready", py::none());
    loop_ = std::move(loop);
    flush_planned_ = false;
  }
  void bind(py::object flush) { flush_ = std::move(flush); }
  void detach() { call_soon_ = ready_ = loop_ = flush_ = py::object(); }
  [[nodiscard]] int descriptor() const noexcept { return queue_.descriptor(); }
  [[nodiscard]] std::size_t outstanding() const noexcept { return outstanding_; }
  [[nodiscard]] PyObject* loop() const noexcept { return loop_.ptr(); }

  // Makes the request of a fresh call. It goes in at the end of this turn of the loop, or at once where nobody else can
  // ask in this turn; then it may have its outcome already. False: Python's error is set.
  bool submit(AsyncCall* call);
  void flush();
  // Settles what has ended and wakes who waits. kStep only as a callback of the running loop.
  void drain(Wake how);
  // For a loop that was closed before its turn was over: what it submitted has not been accepted, and never will be.
  void abandon_turn();

  // Whether this loop is known to run on the calling thread right now: a task is being stepped by flush or drain.
  [[nodiscard]] bool is_stepping() const noexcept { return stepping_ == PyThread_get_thread_ident(); }

 private:
  bool is_alone_in_turn() const noexcept;
  void go_in_alone(PyRequest* request);
  void await_other(PyRequest* request);
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
  int at_once_in_a_row_ = 0;
  Nanos answered_at_once_ = 0;  // when a call was last answered without its task having waited
  py::object loop_, call_soon_, flush_;
  py::object ready_;  // asyncio's own list of what is left of this turn; None where a loop has none to show
};

}  // namespace anya::python
