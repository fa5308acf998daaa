// SPDX-License-Identifier: Apache-2.0
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "anya/completion_queue.h"
#include "bindings.h"
#include "errors.h"
#include "py_model.h"

namespace anya::python {
namespace {

// Between one asyncio loop and the core. Requests of one turn of the loop go in together at its end; what has ended
// comes back through one descriptor that the loop watches, a whole batch per wake-up. Used on the loop's own thread
// only, with the GIL held. Outlives its loop: another loop may attach after it.
class EventLoop {
 public:
  // `loop` runs on this thread. Replaces a loop that has been closed.
  void attach(py::object loop) {
    create_future_ = loop.attr("create_future");
    call_soon_ = loop.attr("call_soon");
    loop_ = std::move(loop);
    flush_planned_ = false;
  }
  void bind(py::object flush) { flush_ = std::move(flush); }
  void detach() { create_future_ = call_soon_ = loop_ = flush_ = py::object(); }
  [[nodiscard]] int descriptor() const noexcept { return queue_.descriptor(); }
  [[nodiscard]] std::size_t outstanding() const noexcept { return outstanding_; }

  // -> (future, ticket)
  PyObject* submit(PyObject* const* arguments, bool detailed);
  void cancel(std::uint64_t ticket);
  void flush();
  void drain();
  // For a loop that was closed before its turn was over: what it submitted has not been accepted, and never will be.
  void abandon_turn();

 private:
  struct Entry {
    PyRequest* request = nullptr;
    std::uint32_t generation = 0;
    bool detailed = false;
  };

  std::uint32_t take_slot(PyRequest* request, bool detailed);
  void free_slot(const PyRequest& request);
  bool ran_here(Model& model);
  void resolve(PyRequest* request, const Status& status);

  CompletionQueue queue_;
  std::vector<Entry> entries_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<PyRequest*> turn_;  // submitted in this turn of the loop, not in the core yet
  std::vector<Request*> together_;
  std::size_t outstanding_ = 0;
  bool flush_planned_ = false;
  py::object loop_, create_future_, call_soon_, flush_;
};

std::uint32_t EventLoop::take_slot(PyRequest* request, bool detailed) {
  if (free_slots_.empty()) {
    free_slots_.push_back(static_cast<std::uint32_t>(entries_.size()));
    entries_.emplace_back();
  }
  const std::uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  entries_[slot].request = request;
  entries_[slot].detailed = detailed;
  ++outstanding_;
  return slot;
}

PyObject* EventLoop::submit(PyObject* const* arguments, bool detailed) {
  PyObject* const self = arguments[0];
  PyModel& model = model_of(self);
  PyRequest* const request = make_request(self, model, arguments + 1, Inputs::kSnapshot);
  if (request == nullptr) return nullptr;
  PyObject* const future = PyObject_CallNoArgs(create_future_.ptr());
  if (future == nullptr) {
    model.pool.put(request);
    return nullptr;
  }
  request->waiter = future;
  request->hold(Py_NewRef(future));
  if (!flush_planned_) {
    PyObject* const handle = PyObject_CallOneArg(call_soon_.ptr(), flush_.ptr());
    if (handle == nullptr) {
      Py_DECREF(future);
      model.pool.put(request);
      return nullptr;
    }
    Py_DECREF(handle);
    flush_planned_ = true;
  }
  request->ticket_slot = take_slot(request, detailed);
  turn_.push_back(request);
  const std::uint64_t ticket = (std::uint64_t{entries_[request->ticket_slot].generation} << 32U) | request->ticket_slot;
  return Py_BuildValue("(NK)", future, static_cast<unsigned long long>(ticket));
}

void EventLoop::flush() {
  flush_planned_ = false;
  std::vector<PyRequest*> turn;
  turn.swap(turn_);
  for (std::size_t first = 0; first < turn.size(); ++first) {
    if (turn[first] == nullptr) continue;
    Model& model = *turn[first]->model->model;
    together_.clear();
    for (std::size_t i = first; i < turn.size(); ++i) {
      if (turn[i] == nullptr || turn[i]->model->model.get() != &model) continue;
      if (turn[i]->is_claimed()) {  // cancelled before it was accepted
        resolve(turn[i], Status::failure(ErrorCode::kCancelled, Reason::kCancelled));
      } else {
        together_.push_back(turn[i]);
      }
      turn[i] = nullptr;
    }
    if (together_.empty() || ran_here(model)) continue;  // empty: the whole turn was cancelled
    Status refusal;
    // Cannot fail: nobody has decided them yet.
    for (Request* request : together_) static_cast<void>(request->notify_through(queue_));
    const std::size_t accepted = model.enqueue(together_, /*watch_deadlines=*/true, refusal);
    for (std::size_t i = accepted; i < together_.size(); ++i) {
      auto* const refused = static_cast<PyRequest*>(together_[i]);
      static_cast<void>(refused->drop());  // the reference that notify_through took
      resolve(refused, refusal);
    }
  }
  turn.clear();
  if (turn_.empty()) turn_.swap(turn);  // keep the memory
}

// Short models: the turn's batch on this thread, no hop, no wake-up.
bool EventLoop::ran_here(Model& model) {
  {
    py::gil_scoped_release release;
    if (!model.run_here(together_)) return false;
  }
  for (Request* request : together_) resolve(static_cast<PyRequest*>(request), request->status);
  return true;
}

void EventLoop::drain() {
  Request* request = queue_.take_all();
  while (request != nullptr) {
    Request* const next = request->next_completed;
    static_cast<void>(request->drop());  // the queue's reference; ours is still there
    resolve(static_cast<PyRequest*>(request), request->status);
    request = next;
  }
}

void EventLoop::free_slot(const PyRequest& request) {
  Entry& entry = entries_[request.ticket_slot];
  entry.request = nullptr;
  ++entry.generation;
  free_slots_.push_back(request.ticket_slot);
  --outstanding_;
}

void EventLoop::abandon_turn() {
  std::vector<PyRequest*> turn;
  turn.swap(turn_);
  for (PyRequest* const request : turn) {
    free_slot(*request);
    request->model->pool.put(request);
  }
}

// Gives the outcome to the future and lets go of the request.
void EventLoop::resolve(PyRequest* request, const Status& status) {
  const bool detailed = entries_[request->ticket_slot].detailed;
  free_slot(*request);

  static PyObject* const set_result = PyUnicode_InternFromString("set_result");
  static PyObject* const set_exception = PyUnicode_InternFromString("set_exception");
  PyObject* answer = nullptr;
  PyObject* method = set_result;
  if (status.ok()) answer = detailed ? take_detailed(*request) : take_outputs(*request);
  if (answer == nullptr) {
    method = set_exception;
    if (PyErr_Occurred() != nullptr) {
      const py::error_already_set error;  // no memory for the answer's arrays, for one
      answer = Py_NewRef(error.value().ptr());
    } else {
      answer = make_error(status, request->model->model->info()).release().ptr();
    }
  }
  PyObject* const done = PyObject_CallMethodOneArg(request->waiter, method, answer);
  Py_DECREF(answer);
  if (done == nullptr) {
    PyErr_Clear();  // the future was cancelled meanwhile: nobody waits for the outcome
  } else {
    Py_DECREF(done);
  }
  request->model->pool.put(request);
}

void EventLoop::cancel(std::uint64_t ticket) {
  const auto slot = static_cast<std::uint32_t>(ticket);
  if (slot >= entries_.size()) return;
  const Entry& entry = entries_[slot];
  if (entry.request == nullptr || entry.generation != static_cast<std::uint32_t>(ticket >> 32U)) return;
  if (entry.request->batcher == nullptr) {
    static_cast<void>(entry.request->claim());  // still in this turn: flush drops it
  } else {
    entry.request->model->model->conclude(*entry.request, ErrorCode::kCancelled, Reason::kCancelled);
  }
}

EventLoop& event_loop_of(PyObject* self) noexcept {
  return *static_cast<EventLoop*>(reinterpret_cast<py::detail::instance*>(self)->simple_value_holder[0]);
}

constexpr Py_ssize_t kSubmitArguments = kCallArguments + 1;

PyObject* submit_with(PyObject* self, PyObject* const* arguments, Py_ssize_t count, bool detailed) {
  if (count != kSubmitArguments) {
    PyErr_SetString(PyExc_TypeError, "takes model, inputs, outputs, timeout, priority, key, tenant");
    return nullptr;
  }
  return event_loop_of(self).submit(arguments, detailed);
}

// Contract: called by the package only, positionally, on the loop's thread; never blocks; new reference or error set.
PyObject* submit(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return submit_with(self, arguments, count, false);
}
PyObject* submit_detailed(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return submit_with(self, arguments, count, true);
}

PyMethodDef submit_definition = {
    "submit", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(submit)), METH_FASTCALL,
    "submit(self: anya_engine._core.EventLoop, model: anya_engine._core.Model, inputs: object, "
    "outputs: object, timeout: object, priority: object, key: object, tenant: object) -> "
    "tuple[asyncio.Future[dict[str, numpy.ndarray]], int]\n\n"
    "A future of this loop for the answer, and the ticket that cancels the request."};
PyMethodDef submit_detailed_definition = {
    "submit_detailed", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(submit_detailed)), METH_FASTCALL,
    "submit_detailed(self: anya_engine._core.EventLoop, model: anya_engine._core.Model, inputs: object, outputs: "
    "object, "
    "timeout: object, priority: object, key: object, tenant: object) -> "
    "tuple[asyncio.Future[tuple[dict[str, numpy.ndarray], int, float, float, int]], int]\n\n"
    "The same for Model.infer_detailed's answer."};

}  // namespace

void register_event_loop(py::module_& module) {
  py::class_<EventLoop> type(module, "EventLoop",
                             "Between one asyncio loop and the core; used on the loop's thread only.");
  type.def(py::init<>())
      .def("attach", &EventLoop::attach, py::arg("loop"), "Serves this loop from now on.")
      .def("bind", &EventLoop::bind, py::arg("flush"), "What the loop calls at the end of a turn: this object's flush.")
      .def("detach", &EventLoop::detach, "Lets go of the loop.")
      .def("cancel", &EventLoop::cancel, py::arg("ticket"), "Cancels a submitted request, if it has not ended.")
      .def("flush", &EventLoop::flush, "Hands this turn's requests to the core.")
      .def("abandon_turn", &EventLoop::abandon_turn, "Forgets what a loop submitted that was closed in the same turn.")
      .def("drain", &EventLoop::drain, "Resolves the futures of what has ended.")
      .def_property_readonly("descriptor", &EventLoop::descriptor, "Turns readable when something has ended.")
      .def_property_readonly("outstanding", &EventLoop::outstanding, "Requests without an outcome yet.");
  add_fast_method(type, &submit_definition);
  add_fast_method(type, &submit_detailed_definition);
}

}  // namespace anya::python
