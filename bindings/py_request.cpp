// SPDX-License-Identifier: Apache-2.0
#include "py_request.h"

#include "py_model.h"

namespace anya::python {
namespace {
constexpr std::size_t kKept = 4096;         // idle requests kept for reuse
constexpr std::size_t kKeptCopy = 1 << 12;  // bytes of copied input an idle request may keep; all of them: 16 MiB
}  // namespace

PyRequest::PyRequest(RequestPool& pool) : Request(pool) {}

void PyRequest::drop_held() noexcept {
  for (PyObject* object : held_) Py_DECREF(object);
  held_.clear();
  given.clear();
  arrays.clear();
  texts.clear();
  views.clear();
  text_bytes = 0;
  changed.clear();
  model = nullptr;
  waiter = nullptr;
  if (copies.capacity() > kKeptCopy) std::vector<std::byte>().swap(copies);
}

// The first is the model, which the request needs to find home.
void PyRequest::drop_arrays() noexcept {
  for (; held_.size() > 1; held_.pop_back()) Py_DECREF(held_.back());
  arrays.clear();
  outputs.clear();
}

RequestPool::RequestPool() { free_.reserve(kKept); }

RequestPool::~RequestPool() { take_returned(); }

PyRequest* RequestPool::get() {
  if (!returned_.empty()) take_returned();
  PyRequest* request = nullptr;
  if (free_.empty()) {
    request = new PyRequest(*this);
  } else {
    request = free_.back().release();
    free_.pop_back();
  }
  request->id = ++last_id_;
  return request;
}

void RequestPool::recycle(PyRequest* request) noexcept {
  std::unique_ptr<PyRequest> owned(request);
  if (request->flight != nullptr) request->model->model->give_up(*request);  // others wait for a run that never was
  request->drop_held();
  request->reset();
  if (free_.size() < kKept) free_.push_back(std::move(owned));
}

void RequestPool::put(PyRequest* request) noexcept {
  if (request->drop()) recycle(request);
}

void RequestPool::take_returned() noexcept {
  Request* request = returned_.take_all();
  while (request != nullptr) {
    Request* const next = request->next_completed;
    recycle(static_cast<PyRequest*>(request));
    request = next;
  }
}

}  // namespace anya::python
