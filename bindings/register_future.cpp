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

using Outputs = py::typing::Dict<py::str, py::array>;

// The answer to one request, to be had now or later. Thread-safe.
class Future {
 public:
  Future(py::object model, PyRequest* request, py::object callbacks)
      : model_(std::move(model)), callback_queue_(std::move(callbacks)), request_(request) {}
  ~Future() {
    if (request_ != nullptr) owner().pool.put(request_);
  }
  Future(const Future&) = delete;
  Future& operator=(const Future&) = delete;

  [[nodiscard]] bool done() const noexcept { return request_ == nullptr || request_->ended(); }
  [[nodiscard]] bool cancelled() { return done() && (settle(), code_ == ErrorCode::kCancelled); }
  bool cancel() {
    if (done()) return false;
    return owner().model->conclude(*request_, ErrorCode::kCancelled, Reason::kCancelled);
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
  static void add_done_callback(const py::object& self, py::typing::Callable<py::object(py::object)> callback);
  // On the callback thread: runs what was added.
  void run_callbacks(const py::object& self);

 private:
  [[nodiscard]] PyModel& owner() const { return model_of(model_.ptr()); }
  void await(std::optional<double> timeout);
  void settle();

  py::object model_;
  py::object callback_queue_;
  PyRequest* request_;  // null once the outcome has been taken over
  ErrorCode code_ = ErrorCode::kOk;
  bool from_cache_ = false;
  py::object answer_;
  py::object error_;
  std::vector<py::object> callbacks_;
};

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
        PyErr_SetString(PyExc_TimeoutError, "the result is not there yet; the request goes on");
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
  request->retain();
  const Status status = request->status;
  py::object answer;
  py::object error;
  if (status.ok()) answer = py::reinterpret_steal<py::object>(take_outputs(*request));
  if (!answer) {
    error = PyErr_Occurred() != nullptr ? py::error_already_set().value() : make_error(status, owner().model->info());
  }
  if (request_ != nullptr) {
    code_ = status.code;
    from_cache_ = request->by_other || request->answer != nullptr;
    answer_ = std::move(answer);
    error_ = std::move(error);
    request_ = nullptr;
    owner().pool.put(request);
  }
  owner().pool.put(request);
}

void Future::run_callbacks(const py::object& self) {
  settle();  // the request holds this future for the callbacks' sake: let it go
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
  if (future.done()) {
    future.run_callbacks(self);
  } else if (future.request_->waiter == nullptr) {
    future.request_->waiter = self.ptr();
    future.request_->hold(Py_NewRef(self.ptr()));  // until the callbacks have run
    if (!future.request_->notify_through(future.callback_queue_.cast<CallbackQueue&>().queue))
      future.run_callbacks(self);
  }
}

void CallbackQueue::run() {
  for (;;) {
    bool stop = false;
    Request* request = without_gil([&] {
      if (!stopping.load(std::memory_order_acquire)) queue.wait(kNever);
      stop = stopping.load(std::memory_order_acquire);
      return queue.take_all();
    });
    while (request != nullptr) {
      auto* const one = static_cast<PyRequest*>(request);
      request = request->next_completed;
      const py::object future = py::reinterpret_borrow<py::object>(one->waiter);
      RequestPool& pool = one->model->pool;
      pool.put(one);  // the queue's reference
      future.cast<Future&>().run_callbacks(future);
    }
    if (stop) return;
  }
}

// Contract of both: called by the package only, positionally; returns a new reference, or null with Python's error set.
// By hand, since a refusal as a C++ exception through pybind11 costs more than the rest of the call.
PyObject* submit_request(PyObject* self, PyObject* const* arguments, Py_ssize_t count, Model::Caching caching) {
  if (count != 1 + kCallArguments) {
    PyErr_SetString(PyExc_TypeError, "takes callbacks, inputs, outputs, timeout, priority, key, tenant");
    return nullptr;
  }
  PyModel& model = model_of(self);
  PyRequest* const request = make_request(self, model, arguments + 1, Inputs::kSnapshot, caching);
  if (request == nullptr) return nullptr;
  try {
    auto future = std::make_unique<Future>(py::reinterpret_borrow<py::object>(self), request,
                                           py::reinterpret_borrow<py::object>(arguments[0]));
    Request* only = request;
    Status refusal;
    // With a batcher it is in already: answered, or about to be, by another's run.
    if (request->batcher == nullptr && model.model->enqueue({&only, 1}, /*watch_deadlines=*/true, refusal) == 0) {
      set_error(refusal, model.model->info());
      return nullptr;
    }
    return py::cast(std::move(future)).release().ptr();
  } catch (py::error_already_set& error) {
    error.restore();
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  }
  return nullptr;
}

PyObject* submit(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return submit_request(self, arguments, count, Model::Caching::kUse);
}
PyObject* submit_uncached(PyObject* self, PyObject* const* arguments, Py_ssize_t count) {
  return submit_request(self, arguments, count, Model::Caching::kBypass);
}

PyMethodDef submit_definition = {
    "submit", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(submit)), METH_FASTCALL,
    "submit(self: anya_engine._core.Model, callbacks: anya_engine._core.CallbackQueue, inputs: object, outputs: "
    "object, timeout: object, priority: object, key: object, tenant: object) -> anya_engine._core.Future\n\n"
    "Queues a copy of the inputs; the answer is in the future."};
PyMethodDef submit_uncached_definition = {
    "submit_uncached", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(submit_uncached)), METH_FASTCALL,
    "submit_uncached(self: anya_engine._core.Model, callbacks: anya_engine._core.CallbackQueue, inputs: object, "
    "outputs: object, timeout: object, priority: object, key: object, tenant: object) -> "
    "anya_engine._core.Future\n\nThe same past the response cache."};

}  // namespace

void register_future(py::module_& module) {
  py::class_<CallbackQueue>(module, "CallbackQueue", "Where done-callbacks wait for the thread that runs them.")
      .def(py::init<>())
      .def("run", &CallbackQueue::run, "Runs callbacks until stop(); for one thread.")
      .def("stop", &CallbackQueue::stop, "Ends run() once everything that has ended was called back.");
  py::class_<Future>(module, "Future",
                     "The answer to one request, to be had now or later. Thread-safe. Made by Engine.submit.")
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
      .def("from_cache", &Future::from_cache, "True if it has ended with an answer that another request's run gave.")
      .def("add_done_callback", &Future::add_done_callback, py::arg("fn"),
           "Calls fn(self) once the request has ended: on the engine's callback thread, or at once on this one if it "
           "has "
           "ended already. What fn raises goes to sys.unraisablehook.");
  add_fast_method(module.attr("Model"), &submit_definition);
  add_fast_method(module.attr("Model"), &submit_uncached_definition);
}

}  // namespace anya::python
