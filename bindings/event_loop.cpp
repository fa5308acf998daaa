// SPDX-License-Identifier: Apache-2.0
#include "event_loop.h"

#include <utility>

#include "waiting.h"

namespace anya::python {
namespace {
constexpr Nanos kAtOnceEvery = 1'000'000;
constexpr int kAtOnceInARow = 64;  // answers from a cache, some 100 us of the loop's time
}  // namespace

bool EventLoop::plan_flush() {
  if (flush_planned_) return true;
  PyObject* const handle = PyObject_CallOneArg(call_soon_.ptr(), flush_.ptr());
  if (handle == nullptr) return false;
  Py_DECREF(handle);
  flush_planned_ = true;
  return true;
}

bool EventLoop::submit(AsyncCall* call) {
  PyModel& model = model_of(call->model);
  PyRequest* const request = make_request(call->model, model, call->arguments, Inputs::kSnapshot, model.caching);
  if (request == nullptr) return false;
  const bool is_in = request->batcher != nullptr;
  const bool alone = !is_in && is_alone_in_turn();
  if (!alone && !is_in && !plan_flush()) {
    model.pool.put(request);
    return false;
  }
  request->waiter = Py_NewRef(reinterpret_cast<PyObject*>(call));
  request->hold(request->waiter);
  call->request = request;
  call->loop = Py_NewRef(loop_.ptr());
  call->state = AsyncCall::State::kPending;
  ++outstanding_;
  if (is_in) {
    await_other(request);
  } else if (alone) {
    go_in_alone(request);
  } else {
    turn_.push_back(request);
  }
  return true;
}

// It ends by another run than its own, or has ended.
void EventLoop::await_other(PyRequest* request) {
  if (!request->ended() && request->notify_through(queue_)) return;
  // A task that is always answered at once would never let the loop go on.
  if (++at_once_in_a_row_ >= kAtOnceInARow && plan_flush()) {
    at_once_in_a_row_ = 0;
    turn_.push_back(request);
    return;
  }
  --outstanding_;
  settle(request, request->status);
}

// Whether no other task can ask before the loop's next turn.
bool EventLoop::is_alone_in_turn() const noexcept {
  if (is_stepping() || !turn_.empty() || ready_.is_none()) return false;
  const Py_ssize_t left = PyObject_Size(ready_.ptr());
  if (left < 0) PyErr_Clear();
  return left == 0;
}

void EventLoop::go_in_alone(PyRequest* request) {
  Model& model = *request->model->model;
  Request* only = request;
  // A task that is always answered at once would never let the loop go on: now and then is enough for a lone request.
  const Nanos now = model.now();
  if (now - answered_at_once_ > kAtOnceEvery) {
    const bool ran = without_gil([&] { return model.run_here({&only, 1}); });
    if (ran) {
      answered_at_once_ = now;
      --outstanding_;
      settle(request, request->status);
      return;
    }
  }
  Status refusal;
  static_cast<void>(request->notify_through(queue_));  // cannot fail: nobody has decided it yet
  if (model.enqueue({&only, 1}, /*watch_deadlines=*/true, refusal) == 1) return;
  static_cast<void>(request->drop());  // the reference that notify_through took
  --outstanding_;
  settle(request, refusal);
}

// The outcome goes to the call, and the call to those who will be woken.
void EventLoop::settle_and_keep(PyRequest* request, const Status& status) {
  settled_.push_back(reinterpret_cast<AsyncCall*>(Py_NewRef(request->waiter)));
  --outstanding_;
  settle(request, status);
}

void EventLoop::wake_settled(Wake how) {
  // A task that is stepped may close the engine, which drains this loop again: what is here belongs to this call.
  std::vector<AsyncCall*> settled;
  settled.swap(settled_);
  const unsigned long outer = std::exchange(stepping_, how == Wake::kStep ? PyThread_get_thread_ident() : stepping_);
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;  // the first thing that came out of a task
  for (AsyncCall* const call : settled) {
    if (!wake(call, how)) {
      // An interrupt ends the loop's run; whoever is left is woken when it runs again, as by asyncio itself.
      if (type == nullptr) {
        PyErr_Fetch(&type, &value, &traceback);
      } else {
        PyErr_Clear();
      }
      how = Wake::kSchedule;
    }
    Py_DECREF(reinterpret_cast<PyObject*>(call));
  }
  stepping_ = outer;
  settled.clear();
  if (settled_.empty()) settled_.swap(settled);  // keep the memory
  if (type == nullptr) return;
  PyErr_Restore(type, value, traceback);
  throw py::error_already_set();
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
      if (turn[i]->ended()) {
        settle_and_keep(turn[i], turn[i]->status);
      } else if (turn[i]->is_claimed()) {  // cancelled before it was accepted
        settle_and_keep(turn[i], Status::failure(ErrorCode::kCancelled, Reason::kCancelled));
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
      settle_and_keep(refused, Status(refused->status));
    }
  }
  turn.clear();
  turn_.swap(turn);  // keep the memory
  // Only now, when all that can run elsewhere is on its way.
  wake_settled(Wake::kStep);
}

// Short models: the turn's batch on this thread, no hop, no wake-up.
bool EventLoop::ran_here(Model& model) {
  {
    py::gil_scoped_release release;
    if (!model.run_here(together_)) return false;
  }
  for (Request* request : together_) settle_and_keep(static_cast<PyRequest*>(request), request->status);
  return true;
}

void EventLoop::drain(Wake how) {
  Request* request = queue_.take_all();
  while (request != nullptr) {
    Request* const next = request->next_completed;
    static_cast<void>(request->drop());  // the queue's reference; ours is still there
    settle_and_keep(static_cast<PyRequest*>(request), request->status);
    request = next;
  }
  wake_settled(how);
}

void EventLoop::abandon_turn() {
  std::vector<PyRequest*> turn;
  turn.swap(turn_);
  for (PyRequest* const request : turn) {
    --outstanding_;
    Py_INCREF(request->waiter);
    PyObject* const waiter = request->waiter;
    settle(request, Status::failure(ErrorCode::kCancelled, Reason::kCancelled));
    Py_DECREF(waiter);
  }
}

}  // namespace anya::python
