// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "anya/completion_queue.h"
#include "bindings.h"
#include "errors.h"
#include "py_model.h"
#include "waiting.h"

namespace anya::python {
namespace {

// Where the done-callbacks of futures run: a queue that one Python thread empties.
class CallbackQueue {
 public:
  CompletionQueue queue;
  std::atomic<bool> stopping{false};

  void stop() {
    stopping.store(true, std::memory_order_release);
    queue.signal();
  }
  // The body of the thread; returns after stop().
  void run();
};

// A Future as Python holds it.
class FutureObject : public py::object {
  PYBIND11_OBJECT_DEFAULT(FutureObject, py::object, PyObject_Type)
};

using Outputs = py::typing::Dict<py::str, py::array>;

// The answer to one request, to be had now or later. Thread-safe.
//
// Where somebody recovers from failures, a failed request is no outcome yet: whoever sees it first, the callback thread
// at the latest, calls `recover(future, error, inputs)`, and waits go on, on a request that is in no queue (a promise),
// until resolve() or cancel() ends it.
class Future {
 public:
  Future(py::object model, PyRequest* request, py::object callbacks, py::object recover, bool is_promise = false)
      : model_(std::move(model)),
        callback_queue_(std::move(callbacks)),
        request_(request),
        recover_(std::move(recover)),
        is_promise_(is_promise) {}
  ~Future() {
    if (request_ != nullptr) let_go();
  }
  Future(const Future&) = delete;
  Future& operator=(const Future&) = delete;

  [[nodiscard]] bool done() {
    if (!recover_.is_none() && request_ != nullptr && request_->ended()) begin_recovery();
    return request_ == nullptr || request_->ended();
  }
  [[nodiscard]] bool cancelled() { return done() && (settle(), code_ == ErrorCode::kCancelled); }
  bool cancel() {
    if (done()) return false;
    if (!is_promise_) return owner().model->conclude(*request_, ErrorCode::kCancelled, Reason::kCancelled);
    if (!request_->claim()) return false;
    fulfil(Status::failure(ErrorCode::kCancelled, Reason::kCancelled));
    return true;
  }
  // The end of a recovery: an answer, or else an error. False: it was cancelled meanwhile.
  bool resolve(const py::object& answer, const py::object& error) {
    if (!is_promise_ || request_ == nullptr || !request_->claim()) return false;
    if (!answer.is_none()) answer_ = answer;
    if (!error.is_none()) error_ = error;
    fulfil(answer.is_none() ? Status::failure(ErrorCode::kExecutionError, Reason::kNone) : Status{});
    return true;
  }
  Outputs result(std::optional<double> timeout) {
    await(timeout);
    if (error_) {
      PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error_.ptr())), error_.ptr());
      throw py::error_already_set();
    }
    return py::reinterpret_borrow<Outputs>(answer_);
  }
  py::object exception(std::optional<double> timeout) {
    await(timeout);
    return error_ ? error_ : py::none();
  }
  bool from_cache() { return done() && (settle(), from_cache_); }
  std::string repr();
  static void add_done_callback(const py::object& self, py::typing::Callable<py::object(py::object)> callback);
  // The callback thread will see how it ends.
  static void watch(const py::object& self);
  // On the callback thread: runs what was added.
  void run_callbacks(const py::object& self);

 private:
  [[nodiscard]] PyModel& owner() const { return model_of(model_.ptr()); }
  void await(std::optional<double> timeout);
  void settle();
  void let_go() noexcept;
  void begin_recovery();
  void fulfil(Status status);

  bool await_callbacks(const py::object& self);

  py::object model_;
  py::object callback_queue_;
  PyRequest* request_;  // null once the outcome has been taken over
  ErrorCode code_ = ErrorCode::kOk;
  bool from_cache_ = false;
  py::object answer_;
  py::object error_;
  std::vector<py::object> callbacks_;
  py::object recover_;    // None: nobody does, or it has begun
  bool is_promise_;       // request_ is one
  bool is_held_ = false;  // request_ holds this future, for its callbacks' sake
};

void Future::fulfil(Status status) {
  request_->status = std::move(status);
  CompletionQueue* const signal = request_->publish();
  if (signal != nullptr) signal->signal();
}

// The request may still be on its way to the callback thread, and find nobody there.
void Future::let_go() noexcept {
  PyRequest* const request = std::exchange(request_, nullptr);
  if (!is_held_) request->waiter = nullptr;
  owner().pool.put(request);
}

// REQUIRES: the request has ended, and nobody has begun.
void Future::begin_recovery() {
  const py::object recover = std::exchange(recover_, py::none());
  PyRequest* const failed = request_;
  if (failed->status.ok() || failed->status.code == ErrorCode::kCancelled) return;
  // No Python before the promise is there: others may look meanwhile.
  request_ = owner().pool.get();
  request_->model = &owner();
  request_->hold(Py_NewRef(model_.ptr()));
  is_promise_ = true;
  const py::object self = py::cast(this);
  if (!std::exchange(is_held_, false)) failed->waiter = nullptr;
  if (!callbacks_.empty()) await_callbacks(self);
  try {
    const py::object error = make_error(failed->status, owner().model->info(), failed->id);
    py::object inputs = py::reinterpret_steal<py::object>(take_inputs(*failed));
    owner().pool.put(failed);
    if (!inputs) throw py::error_already_set();
    recover(self, error, inputs);
  } catch (py::error_already_set& raised) {
    static_cast<void>(resolve(py::none(), raised.value()));  // no memory for the inputs: nobody can be asked again
  }
}

// From now on the request's outcome brings this future to the callback thread. False: it has ended already.
bool Future::await_callbacks(const py::object& self) {
  request_->waiter = self.ptr();
  request_->hold(Py_NewRef(self.ptr()));  // until the callbacks have run
  is_held_ = true;
  return request_->notify_through(callback_queue_.cast<CallbackQueue&>().queue);
}

void Future::await(std::optional<double> timeout) {
  Nanos until = kNever;
  if (timeout.has_value()) {
    const double seconds = *timeout;
    if (!(seconds >= 0)) throw py::value_error("timeout is negative; pass seconds, or None to wait without end");
    const Nanos now = owner().model->now();
    if (seconds < 1e9) until = now + static_cast<Nanos>(seconds * 1e9);
  }
  if (!done() && !owner().engine.cast<PyEngine&>().engine->is_owner_process()) {
    set_error(Status::failure(ErrorCode::kUnavailable, Reason::kForked), owner().model->info());  // nobody runs it here
    throw py::error_already_set();
  }
  while (!done()) {
    // Another thread may take the outcome over while we wait: the wait has a reference of its own.
    PyRequest* const request = request_;
    request->retain();
    const Waited waited = wait_for(*request, until);
    owner().pool.put(request);
    switch (waited) {
      case Waited::kEnded:
        break;
      case Waited::kTimedOut:
        PyErr_Format(PyExc_TimeoutError,
                     "the result is not there after %s s; the request goes on: wait again, or cancel() it",
                     std::string(py::str(py::float_(*timeout))).c_str());
        throw py::error_already_set();
      case Waited::kRaised:
        throw py::error_already_set();
    }
  }
  settle();
}

// Takes the outcome over from the request, once. Making an error runs Python code, so another thread may come here
// meanwhile: it makes one of its own, and the first to be done is everybody's.
void Future::settle() {
  if (request_ == nullptr) return;
  PyRequest* const request = request_;
  if (answer_ || error_) {  // resolved
    code_ = request->status.code;
    let_go();
    return;
  }
  request->retain();
  const Status status = request->status;
  py::object answer;
  py::object error;
  if (status.ok()) answer = py::reinterpret_steal<py::object>(take_outputs(*request));
  if (!answer) {
    error = PyErr_Occurred() != nullptr ? py::error_already_set().value()
                                        : make_error(status, owner().model->info(), request->id);
  }
  if (request_ != nullptr) {
    code_ = status.code;
    from_cache_ = request->by_other || request->answer != nullptr;
    answer_ = std::move(answer);
    error_ = std::move(error);
    let_go();
  }
  owner().pool.put(request);
}

// What somebody still has to recover from is pending; nothing begins by being looked at.
std::string Future::repr() {
  if (request_ != nullptr && request_->ended() && (recover_.is_none() || request_->status.ok())) settle();
  const ModelInfo& model = owner().model->info();
  const std::string failed = error_ ? std::string("failed: ") + Py_TYPE(error_.ptr())->tp_name : "";
  const std::string state = request_ != nullptr ? "pending" : code_ == ErrorCode::kCancelled ? "cancelled" : failed;
  return "<Future " + model.name + ":" + model.version + " " + (state.empty() ? "done" : state) + ">";
}

void Future::run_callbacks(const py::object& self) {
  if (!done()) return;  // what has failed is being recovered from
  settle();             // the request holds this future for the callbacks' sake: let it go
  std::vector<py::object> callbacks;
  callbacks.swap(callbacks_);
  for (const py::object& callback : callbacks) {
    try {
      callback(self);
    } catch (py::error_already_set& error) {
      error.discard_as_unraisable(callback);  // one caller's mistake is nobody else's
    }
  }
}

void Future::add_done_callback(const py::object& self, py::typing::Callable<py::object(py::object)> callback) {
  Future& future = self.cast<Future&>();
  future.callbacks_.push_back(std::move(callback));
  watch(self);
}

void Future::watch(const py::object& self) {
  Future& future = self.cast<Future&>();
  if (future.done() || (!future.is_held_ && !future.await_callbacks(self))) future.run_callbacks(self);
}

void CallbackQueue::run() {
  for (;;) {
    bool stop = false;
    Request* request = without_gil([&] {
      if (!stopping.load(std::memory_order_acquire)) queue.wait(kNever);
      stop = stopping.load(std::memory_order_acquire);
      return queue.take_all();
    });
    const bool none = request == nullptr;
    while (request != nullptr) {
      auto* const one = static_cast<PyRequest*>(request);
      request = request->next_completed;
      const py::object future = py::reinterpret_borrow<py::object>(one->waiter);  // null: nobody has it any more
      RequestPool& pool = one->model->pool;
      pool.put(one);  // the queue's reference
      if (future) future.cast<Future&>().run_callbacks(future);
    }
    if (stop && none) return;  // what callbacks have ended is called back, too
  }
}

// Contract of both: called by the package only, positionally; returns a new reference, or null with Python's error set.
// By hand, since a refusal as a C++ exception through pybind11 costs more than the rest of the call.
PyObject* submit_request(PyObject* self, PyObject* const* arguments, Py_ssize_t count, Model::Caching caching) {
  constexpr Py_ssize_t kRecover = 1 + kCallArguments;
  if (count != kRecover && count != kRecover + 1) {
    PyErr_SetString(PyExc_TypeError, "takes callbacks, inputs, outputs, timeout, priority, key, tenant, recover=None");
    return nullptr;
  }
  PyModel& model = model_of(self);
  PyRequest* const request = make_request(self, model, arguments + 1, Inputs::kSnapshot, caching);
  if (request == nullptr) return nullptr;
  try {
    const auto callbacks = py::reinterpret_borrow<py::object>(arguments[0]);
    const auto recover = py::reinterpret_borrow<py::object>(count > kRecover ? arguments[kRecover] : Py_None);
    py::object future =
        py::cast(std::make_unique<Future>(py::reinterpret_borrow<py::object>(self), request, callbacks, recover));
    if (request->batcher != nullptr) {  // it is in already: answered, or about to be, by another's run
      if (!recover.is_none()) Future::watch(future);
      return future.release().ptr();
    }
    if (!recover.is_none()) {
      request->waiter = future.ptr();
      request->notify_failure_through(callbacks.cast<CallbackQueue&>().queue);
    }
    Request* only = request;
    Status refusal;
    if (model.model->enqueue({&only, 1}, /*watch_deadlines=*/true, refusal) == 0) {
      if (!recover.is_none()) static_cast<void>(request->drop());  // the reference that the queue would have had
      set_error(refusal, model.model->info(), request->id);
      return nullptr;
    }
    return future.release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}

PyObject* submit(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return submit_request(self, arguments, count, model_of(self).caching);
}
PyObject* submit_uncached(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return submit_request(self, arguments, count, Model::Caching::kBypass);
}

PyMethodDef submit_definition = {
    "submit", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(submit)), METH_FASTCALL,
    "submit(self: anya_engine._core.Model, callbacks: anya_engine._core.CallbackQueue, inputs: object, outputs: "
    "object, timeout: object, priority: object, key: object, tenant: object, recover: object = None) -> "
    "anya_engine._core.Future\n\n"
    "Queues a copy of the inputs; the answer is in the future. Where it fails, recover(future, error, inputs) is "
    "called "
    "before anybody sees it, and resolves the future in the end."};
PyMethodDef submit_uncached_definition = {
    "submit_uncached", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(submit_uncached)), METH_FASTCALL,
    "submit_uncached(self: anya_engine._core.Model, callbacks: anya_engine._core.CallbackQueue, inputs: object, "
    "outputs: object, timeout: object, priority: object, key: object, tenant: object) -> "
    "anya_engine._core.Future\n\nThe same past the response cache."};

// A future of no request: resolve() or cancel() ends it.
FutureObject promise(const py::object& model, const py::object& callbacks) {
  PyModel& owner = model_of(model.ptr());
  PyRequest* const request = owner.pool.get();
  request->model = &owner;
  request->hold(Py_NewRef(model.ptr()));
  return FutureObject(py::cast(std::make_unique<Future>(model, request, callbacks, py::none(), /*is_promise=*/true)));
}

}  // namespace
}  // namespace anya::python

// What the stub generator reads.
template <>
struct pybind11::detail::handle_type_name<anya::python::FutureObject> {
  static constexpr auto name = const_name("anya_engine._core.Future");
};

namespace anya::python {

void register_future(py::module_& module) {
  py::class_<CallbackQueue>(module, "CallbackQueue", "Where done-callbacks wait for the thread that runs them.")
      .def(py::init<>())
      .def("run", &CallbackQueue::run, "Runs callbacks until stop(); for one thread.")
      .def("stop", &CallbackQueue::stop, "Ends run() once everything that has ended was called back.");
  py::class_<Future>(
      module, "Future",
      "The answer to one request, to be had now or later. Thread-safe. Made by Engine.submit. Its methods "
      "mean what those of concurrent.futures.Future mean (cancel ends a running request, too), but it is none: "
      "asyncio.wrap_future, "
      "concurrent.futures.wait and await do not take it (in asyncio: Engine.infer_async).")
      .def("result", &Future::result, py::arg("timeout") = py::none(),
           "The outputs. Waits up to `timeout` seconds (None: without end) and then raises TimeoutError; the request "
           "goes "
           "on. Raises the request's error if it failed.")
      .def("exception", &Future::exception, py::arg("timeout") = py::none(),
           "The request's error, or None if it ended well. Waits like result().")
      .def("done", &Future::done, "True once the request has ended, however.")
      .def("cancel", &Future::cancel,
           "Ends the request as cancelled unless it has ended. True if this call did it. A run under way goes on and "
           "its "
           "answer is dropped.")
      .def("cancelled", &Future::cancelled, "True if the request ended as cancelled.")
      .def("__repr__", &Future::repr)
      .def("from_cache", &Future::from_cache, "True if it has ended with an answer that another request's run gave.")
      .def_static("_promise", &promise, py::arg("model"), py::arg("callbacks"))
      .def("_resolve", &Future::resolve, py::arg("answer"), py::arg("error"))
      .def("add_done_callback", &Future::add_done_callback, py::arg("fn"),
           "Calls fn(self) once the request has ended: on the engine's callback thread, or at once on this one if it "
           "has "
           "ended already. What fn raises goes to sys.unraisablehook.");
  add_fast_method(module.attr("Model"), &submit_definition);
  add_fast_method(module.attr("Model"), &submit_uncached_definition);
}

}  // namespace anya::python
