// SPDX-License-Identifier: Apache-2.0
#include "async_call.h"
#include "bindings.h"
#include "event_loop.h"

namespace anya::python {

// Where awaited requests of an engine come in: finds the EventLoop of the loop they are made on. Used with the GIL
// held.
class AsyncDoor {
 public:
  // find(loop) -> the EventLoop of a running asyncio loop
  explicit AsyncDoor(py::object find)
      : find_(std::move(find)), get_running_loop_(py::module_::import("asyncio").attr("get_running_loop")) {}

  // Null: Python's error is set. Good until the next call.
  EventLoop* running_loop() {
    // A task that is being stepped by the loop we met last asks from that loop: no need to look it up.
    if (last_ != nullptr && last_->is_stepping()) return last_;
    const py::object running = py::reinterpret_steal<py::object>(PyObject_CallNoArgs(get_running_loop_.ptr()));
    if (!running) return nullptr;
    if (last_ != nullptr && last_->loop() == running.ptr()) return last_;
    PyObject* const found = PyObject_CallOneArg(find_.ptr(), running.ptr());
    if (found == nullptr) return nullptr;
    last_object_ = py::reinterpret_steal<py::object>(found);
    last_ = last_object_.cast<EventLoop*>();
    return last_;
  }

 private:
  py::object find_, get_running_loop_, last_object_;
  EventLoop* last_ = nullptr;
};

namespace {

// The value behind a pybind11 object of one base and one holder ("simple layout"); no check.
template <typename T>
T* value_of(PyObject* object) noexcept {
  return static_cast<T*>(reinterpret_cast<py::detail::instance*>(object)->simple_value_holder[0]);
}

PyObject* ask_with(PyObject* self, PyObject* const* arguments, Py_ssize_t count, bool detailed) {
  if (count == kCallArguments + 1) return make_async_call(arguments[0], self, arguments + 1, detailed);
  PyErr_SetString(PyExc_TypeError, "takes door, inputs, outputs, timeout, priority, key, tenant");
  return nullptr;
}

// Contract of both: called by the package only, positionally; asks nothing yet; new reference or error set.
PyObject* ask(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return ask_with(self, arguments, count, false);
}
PyObject* ask_detailed(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return ask_with(self, arguments, count, true);
}

// Calls a member of the EventLoop behind `self`; the loop calls these once a turn, so without pybind11's dispatcher.
template <typename Call>
PyObject* call_loop(PyObject* self, Call&& call) {
  try {
    call(*value_of<EventLoop>(self));
    Py_RETURN_NONE;
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}
PyObject* flush(PyObject* self, PyObject* /*unused*/) {
  return call_loop(self, [](EventLoop& loop) { loop.flush(); });
}
PyObject* drain(PyObject* self, PyObject* /*unused*/) {
  return call_loop(self, [](EventLoop& loop) { loop.drain(Wake::kStep); });
}

PyMethodDef flush_definition = {"flush", flush, METH_NOARGS,
                                "flush(self: anya_engine._core.EventLoop) -> None\n\n"
                                "Hands this turn's requests to the core; for a callback of the loop."};
PyMethodDef drain_definition = {"drain", drain, METH_NOARGS,
                                "drain(self: anya_engine._core.EventLoop) -> None\n\n"
                                "Steps the tasks whose requests have ended; for a callback of the loop."};
PyMethodDef ask_definition = {
    "ask", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(ask)), METH_FASTCALL,
    "ask(self: anya_engine._core.Model, door: anya_engine._core.AsyncDoor, inputs: object, outputs: object, timeout: "
    "object, priority: object, key: object, tenant: object) -> "
    "collections.abc.Coroutine[typing.Any, typing.Any, dict[str, numpy.ndarray]]\n\n"
    "A coroutine that asks the model at its first step and returns the answer."};
PyMethodDef ask_detailed_definition = {
    "ask_detailed", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(ask_detailed)), METH_FASTCALL,
    "ask_detailed(self: anya_engine._core.Model, door: anya_engine._core.AsyncDoor, inputs: object, outputs: object, "
    "timeout: object, priority: object, key: object, tenant: object) -> "
    "collections.abc.Coroutine[typing.Any, typing.Any, tuple[dict[str, numpy.ndarray], int, float, float, int, "
    "dict[str, int] | None, bool, float | None]]\n\n"
    "The same for Model.infer_detailed's answer."};

}  // namespace

EventLoop* running_loop(PyObject* door) { return value_of<AsyncDoor>(door)->running_loop(); }

void register_event_loop(py::module_& module) {
  register_async_call(module);
  py::class_<EventLoop> loop(module, "EventLoop",
                             "Between one asyncio loop and the core; used on the loop's thread only.");
  loop.def(py::init<>())
      .def("attach", &EventLoop::attach, py::arg("loop"), "Serves this loop from now on.")
      .def("bind", &EventLoop::bind, py::arg("flush"), "What the loop calls at the end of a turn: this object's flush.")
      .def("detach", &EventLoop::detach, "Lets go of the loop.")
      .def("abandon_turn", &EventLoop::abandon_turn, "Forgets what a loop submitted that was closed in the same turn.")
      .def(
          "drain_later", [](EventLoop& self) { self.drain(Wake::kSchedule); },
          "Like drain, from anywhere else: the tasks are stepped in the loop's next turn.")
      .def_property_readonly("descriptor", &EventLoop::descriptor, "Turns readable when something has ended.")
      .def_property_readonly("outstanding", &EventLoop::outstanding, "Requests without an outcome yet.");
  add_fast_method(loop, &flush_definition);
  add_fast_method(loop, &drain_definition);
  py::class_<AsyncDoor> door(module, "AsyncDoor", "Where an engine's awaited requests come in.");
  door.def(py::init<py::object>(), py::arg("find"), "find(loop) -> the EventLoop that serves a running asyncio loop.");
  const py::type model = py::type::of<PyModel>();
  add_fast_method(model, &ask_definition);
  add_fast_method(model, &ask_detailed_definition);
}

}  // namespace anya::python
