// SPDX-License-Identifier: Apache-2.0
#include "async_call.h"

#include <cstddef>
#include <exception>

#include "errors.h"
#include "event_loop.h"

namespace anya::python {
namespace {

PyTypeObject* g_type = nullptr;  // set once, when the module is made; types are per process, not per engine

AsyncCall* self_of(PyObject* object) noexcept { return reinterpret_cast<AsyncCall*>(object); }
PyObject* object_of(AsyncCall* call) noexcept { return reinterpret_cast<PyObject*>(call); }

void drop_arguments(AsyncCall* call) noexcept {
  for (PyObject*& argument : call->arguments) Py_CLEAR(argument);
}

// Ends the request of a pending call as cancelled. True: this decided its outcome; it arrives as any other does.
bool cancel_request(AsyncCall* call) noexcept {
  PyRequest* const request = call->request;
  if (request->batcher == nullptr) return request->claim();  // still in its loop's turn: flush drops it
  return request->model->model->conclude(*request, ErrorCode::kCancelled, Reason::kCancelled);
}

void abandon(AsyncCall* call) noexcept {
  if (call->state == AsyncCall::State::kPending) static_cast<void>(cancel_request(call));
  call->state = AsyncCall::State::kOver;
  call->request = nullptr;
  Py_CLEAR(call->wakeup);
  Py_CLEAR(call->context);
  Py_CLEAR(call->outcome);
  drop_arguments(call);
}

void raise_cancelled() {
  PyObject* const module = PyImport_ImportModule("asyncio.exceptions");
  PyObject* const type = module == nullptr ? nullptr : PyObject_GetAttrString(module, "CancelledError");
  Py_XDECREF(module);
  if (type == nullptr) return;
  PyErr_SetNone(type);
  Py_DECREF(type);
}

// ---- the coroutine

// Hands the outcome to whoever steps.
PySendResult finish(AsyncCall* call, PyObject** result) {
  call->state = AsyncCall::State::kOver;
  PyObject* const outcome = std::exchange(call->outcome, nullptr);
  if (call->cancelled) {
    Py_XDECREF(outcome);
    raise_cancelled();
    return PYGEN_ERROR;
  }
  if (!call->failed) {
    *result = outcome;
    return PYGEN_RETURN;
  }
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(outcome)), outcome);
  Py_DECREF(outcome);
  return PYGEN_ERROR;
}

PySendResult step(PyObject* object, PyObject* /*value*/, PyObject** result) {
  AsyncCall* const call = self_of(object);
  *result = nullptr;
  switch (call->state) {
    case AsyncCall::State::kFresh: {
      EventLoop* const loop = running_loop(call->door);
      const bool asked = loop != nullptr && loop->submit(call);
      drop_arguments(call);
      if (!asked) {
        call->state = AsyncCall::State::kOver;
        return PYGEN_ERROR;
      }
      if (call->state == AsyncCall::State::kSettled) return finish(call, result);
      call->blocking = true;
      *result = Py_NewRef(object);
      return PYGEN_NEXT;
    }
    case AsyncCall::State::kPending:
      PyErr_SetString(PyExc_RuntimeError,
                      "infer_async was stepped before its answer came; await it in an asyncio task");
      return PYGEN_ERROR;
    case AsyncCall::State::kSettled:
      return finish(call, result);
    case AsyncCall::State::kOver:
      break;
  }
  PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
  return PYGEN_ERROR;
}

PyObject* send(PyObject* self, PyObject* value) {
  PyObject* result = nullptr;
  if (step(self, value, &result) != PYGEN_RETURN) return result;
  // The answer as StopIteration's value: made explicitly, since a tuple would be taken for its arguments.
  PyObject* const stop = PyObject_CallOneArg(PyExc_StopIteration, result);
  Py_DECREF(result);
  if (stop == nullptr) return nullptr;
  PyErr_SetObject(PyExc_StopIteration, stop);
  Py_DECREF(stop);
  return nullptr;
}

PyObject* next(PyObject* self) { return send(self, Py_None); }

PyObject* throw_in(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  if (count < 1 || count > 3) {
    PyErr_SetString(PyExc_TypeError, "throw takes an exception, or its type, value and traceback");
    return nullptr;
  }
  abandon(self_of(self));
  PyObject* const thrown = arguments[0];
  if (PyExceptionInstance_Check(thrown)) {
    PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(thrown)), thrown);
  } else if (PyExceptionClass_Check(thrown)) {
    PyErr_SetObject(thrown, count > 1 ? arguments[1] : nullptr);
  } else {
    PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
  }
  return nullptr;
}

PyObject* close(PyObject* self, PyObject* /*unused*/) {
  abandon(self_of(self));
  Py_RETURN_NONE;
}

// ---- the future, as far as asyncio.Task asks

PyObject* get_loop(PyObject* self, PyObject* /*unused*/) {
  AsyncCall* const call = self_of(self);
  if (call->loop != nullptr) return Py_NewRef(call->loop);
  PyErr_SetString(PyExc_RuntimeError, "infer_async has no loop before its first step");
  return nullptr;
}

// (callback, *, context=None); one waiter is all a task makes.
PyObject* add_done_callback(PyObject* self, PyObject* const* arguments, Py_ssize_t count, PyObject* names) {
  AsyncCall* const call = self_of(self);
  const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
  if (count != 1 || named > 1 || call->wakeup != nullptr || call->state == AsyncCall::State::kFresh) {
    PyErr_SetString(PyExc_RuntimeError, "infer_async can be awaited once");
    return nullptr;
  }
  call->wakeup = Py_NewRef(arguments[0]);
  call->context = named == 1 && arguments[1] != Py_None ? Py_NewRef(arguments[1]) : PyContext_CopyCurrent();
  if (call->context == nullptr) return nullptr;
  if (call->state != AsyncCall::State::kPending && !wake(call, Wake::kSchedule)) return nullptr;
  Py_RETURN_NONE;
}

// (msg=None): True if the request ends by this.
PyObject* cancel(PyObject* self, PyObject* const* /*arguments*/, Py_ssize_t /*count*/, PyObject* /*names*/) {
  AsyncCall* const call = self_of(self);
  if (call->state != AsyncCall::State::kPending || call->cancelled || !cancel_request(call)) Py_RETURN_FALSE;
  call->cancelled = true;
  Py_RETURN_TRUE;
}

// The outcome itself is fetched by the next step, which is where a traceback shows who awaited.
PyObject* result(PyObject* /*self*/, PyObject* /*unused*/) { Py_RETURN_NONE; }

// None, "no future", until there is something to wait for: asyncio.gather and its like make a task of it then.
PyObject* get_blocking(PyObject* self, void* /*closure*/) {
  const AsyncCall* const call = self_of(self);
  if (call->state == AsyncCall::State::kFresh) Py_RETURN_NONE;
  return PyBool_FromLong(call->blocking ? 1 : 0);
}
int set_blocking(PyObject* self, PyObject* value, void* /*closure*/) {
  const int wanted = value == nullptr ? 0 : PyObject_IsTrue(value);
  if (wanted < 0) return -1;
  self_of(self)->blocking = wanted != 0;
  return 0;
}

// None: it did not fail, it was refused before its inputs were read, or nobody set keeps_inputs.
PyObject* get_inputs(PyObject* self, void* /*closure*/) {
  PyObject* const inputs = self_of(self)->inputs;
  return Py_NewRef(inputs == nullptr ? Py_None : inputs);
}
int set_keeps_inputs(PyObject* self, PyObject* value, void* /*closure*/) {
  const int wanted = value == nullptr ? 0 : PyObject_IsTrue(value);
  if (wanted < 0) return -1;
  self_of(self)->keeps_inputs = wanted != 0;
  return 0;
}
PyObject* get_keeps_inputs(PyObject* self, void* /*closure*/) {
  return PyBool_FromLong(self_of(self)->keeps_inputs ? 1 : 0);
}

PyObject* get_name(PyObject* /*self*/, void* /*closure*/) { return PyUnicode_InternFromString("infer_async"); }

// ---- the object

int traverse(PyObject* self, visitproc visit, void* arg) {
  AsyncCall* const call = self_of(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(call->door);
  Py_VISIT(call->model);
  for (PyObject* argument : call->arguments) Py_VISIT(argument);
  Py_VISIT(call->loop);
  Py_VISIT(call->wakeup);
  Py_VISIT(call->context);
  Py_VISIT(call->outcome);
  Py_VISIT(call->inputs);
  return 0;
}

int clear(PyObject* self) {
  AsyncCall* const call = self_of(self);
  drop_arguments(call);
  Py_CLEAR(call->door);
  Py_CLEAR(call->model);
  Py_CLEAR(call->loop);
  Py_CLEAR(call->wakeup);
  Py_CLEAR(call->context);
  Py_CLEAR(call->outcome);
  Py_CLEAR(call->inputs);
  return 0;
}

void finalize(PyObject* self) {
  if (self_of(self)->state != AsyncCall::State::kFresh) return;
  const py::error_scope kept;
  if (PyErr_WarnEx(PyExc_RuntimeWarning, "coroutine 'Engine.infer_async' was never awaited", 1) != 0) {
    PyErr_WriteUnraisable(self);
  }
}

void dealloc(PyObject* self) {
  if (self_of(self)->state == AsyncCall::State::kFresh && PyObject_CallFinalizerFromDealloc(self) < 0) return;
  PyTypeObject* const type = Py_TYPE(self);
  PyObject_GC_UnTrack(self);
  clear(self);
  PyObject_GC_Del(self);
  Py_DECREF(type);
}

PyMethodDef methods[] = {
    {"send", send, METH_O, "send(self, value: object) -> object\n\nA step, as of any coroutine."},
    {"throw", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(throw_in)), METH_FASTCALL,
     "throw(self, *exception: object) -> object\n\nCancels the request and raises the exception."},
    {"close", close, METH_NOARGS, "close(self) -> None\n\nCancels the request."},
    {"get_loop", get_loop, METH_NOARGS, "get_loop(self) -> object\n\nThe loop whose task awaits it."},
    {"add_done_callback", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(add_done_callback)),
     METH_FASTCALL | METH_KEYWORDS,
     "add_done_callback(self, fn: object, *, context: object = None) -> None\n\nFor asyncio.Task."},
    {"cancel", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(cancel)), METH_FASTCALL | METH_KEYWORDS,
     "cancel(self, msg: object = None) -> bool\n\nFor asyncio.Task: cancels the request."},
    {"result", result, METH_NOARGS, "result(self) -> None\n\nFor asyncio.Task."},
    {nullptr, nullptr, 0, nullptr}};

PyGetSetDef properties[] = {{"_asyncio_future_blocking", get_blocking, set_blocking, "asyncio's handshake.", nullptr},
                            {"inputs", get_inputs, nullptr, "What was asked, if that failed: arrays by name.", nullptr},
                            {"keeps_inputs", get_keeps_inputs, set_keeps_inputs, "Keep them for that.", nullptr},
                            {"__name__", get_name, nullptr, "For asyncio's reports.", nullptr},
                            {"__qualname__", get_name, nullptr, "For asyncio's reports.", nullptr},
                            {nullptr, nullptr, nullptr, nullptr, nullptr}};

char kDoc[] = "The coroutine that Engine.infer_async returns. Await it once.";

PyType_Slot slots[] = {{Py_tp_doc, kDoc},
                       {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                       {Py_tp_finalize, reinterpret_cast<void*>(finalize)},
                       {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(clear)},
                       {Py_tp_iternext, reinterpret_cast<void*>(next)},
                       {Py_tp_methods, methods},
                       {Py_tp_getset, properties},
                       {Py_am_await, reinterpret_cast<void*>(PyObject_SelfIter)},
                       {Py_am_send, reinterpret_cast<void*>(step)},
                       {0, nullptr}};

PyType_Spec type_spec = {"anya_engine._core.AsyncCall", sizeof(AsyncCall), 0,
                         Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

}  // namespace

PyObject* make_async_call(PyObject* door, PyObject* model, PyObject* const* arguments, bool detailed) {
  auto* const call = PyObject_GC_New(AsyncCall, g_type);
  if (call == nullptr) return nullptr;
  call->door = Py_NewRef(door);
  call->model = Py_NewRef(model);
  for (Py_ssize_t i = 0; i < kCallArguments; ++i) call->arguments[i] = Py_NewRef(arguments[i]);
  call->loop = call->wakeup = call->context = call->outcome = call->inputs = nullptr;
  call->request = nullptr;
  call->state = AsyncCall::State::kFresh;
  call->detailed = detailed;
  call->keeps_inputs = call->blocking = call->failed = call->cancelled = false;
  PyObject_GC_Track(object_of(call));
  return object_of(call);
}

void settle(PyRequest* request, const Status& status) noexcept {
  AsyncCall* const call = self_of(request->waiter);
  if (call->state == AsyncCall::State::kPending) {
    call->state = AsyncCall::State::kSettled;
    call->request = nullptr;
    if (status.ok()) call->outcome = call->detailed ? take_detailed(*request) : take_outputs(*request);
    if (call->outcome == nullptr) {
      call->failed = true;
      if (call->keeps_inputs && PyErr_Occurred() == nullptr) {
        call->inputs = take_inputs(*request);
        if (call->inputs == nullptr) PyErr_Clear();  // no memory for them: then there is nobody else to ask
      }
      if (PyErr_Occurred() != nullptr) {
        const py::error_already_set error;  // no memory for the answer's arrays, for one
        call->outcome = Py_NewRef(error.value().ptr());
      } else {
        call->outcome = make_error(status, request->model->model->info(), request->id).release().ptr();
      }
    }
  }
  request->model->pool.put(request);
}

bool wake(AsyncCall* call, Wake how) {
  PyObject* const wakeup = std::exchange(call->wakeup, nullptr);
  PyObject* const context = std::exchange(call->context, nullptr);
  if (wakeup == nullptr) return true;  // closed meanwhile, or nobody has waited yet
  PyObject* done = nullptr;
  if (how == Wake::kStep) {
    if (PyContext_Enter(context) == 0) {
      done = PyObject_CallOneArg(wakeup, object_of(call));
      if (PyContext_Exit(context) != 0) Py_CLEAR(done);
    }
  } else {
    static PyObject* const names = Py_BuildValue("(s)", "context");
    PyObject* const call_soon = PyObject_GetAttrString(call->loop, "call_soon");
    PyObject* const arguments[] = {wakeup, object_of(call), context};
    if (call_soon != nullptr) done = PyObject_Vectorcall(call_soon, arguments, 2, names);
    Py_XDECREF(call_soon);
    if (done == nullptr && PyErr_ExceptionMatches(PyExc_RuntimeError) != 0) {
      PyErr_Clear();  // the loop is closed: its tasks are gone
      done = Py_NewRef(Py_None);
    }
  }
  Py_DECREF(wakeup);
  Py_DECREF(context);
  Py_XDECREF(done);
  return done != nullptr;
}

void register_async_call(py::module_& module) {
  PyObject* const type = PyType_FromModuleAndSpec(module.ptr(), &type_spec, nullptr);
  if (type == nullptr) throw py::error_already_set();
  g_type = reinterpret_cast<PyTypeObject*>(type);
  module.add_object("AsyncCall", type);
}

}  // namespace anya::python
