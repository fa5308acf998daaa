// SPDX-License-Identifier: Apache-2.0
#include "py_request.h"

namespace anya::python {
namespace {
constexpr std::size_t kKept = 4096;         // idle requests kept for reuse
constexpr std::size_t kKeptCopy = 1 << 16;  // bytes of copied input an idle request may keep
}  // namespace

PyRequest::PyRequest(RequestPool& pool) : Request(pool) {}

void PyRequest::drop_held() noexcept {
  for (PyObject* object : held_) Py_DECREF(object);
  held_.clear();
  given.clear();
  arrays.clear();
  texts.clear();
  views.clear();
  model = nullptr;
  waiter = nullptr;
  if (copies.capacity() > kKeptCopy) std::vector<std::byte>().swap(copies);
}

RequestPool::RequestPool() { free_.reserve(kKept); }

RequestPool::~RequestPool() { take_returned(); }

PyRequest* RequestPool::get() {
  // Relaxed: only a hint that there is something; take_returned acquires it.
  if (returned_.load(std::memory_order_relaxed) != nullptr) take_returned();
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
  request->drop_held();
  request->reset();
  if (free_.size() < kKept) free_.push_back(std::move(owned));
}

void RequestPool::put(PyRequest* request) noexcept {
  if (request->drop()) recycle(request);
}

void RequestPool::reclaim(Request* request) noexcept {
  Request* newest = returned_.load(std::memory_order_relaxed);  // a guess; the exchange below confirms it
  do {
    request->next_completed = newest;
    // Release: the taker sees everything the last holder did.
  } while (!returned_.compare_exchange_weak(newest, request, std::memory_order_release, std::memory_order_relaxed));
}

void RequestPool::take_returned() noexcept {
  Request* request = returned_.exchange(nullptr, std::memory_order_acquire);
  while (request != nullptr) {
    Request* const next = request->next_completed;
    recycle(static_cast<PyRequest*>(request));
    request = next;
  }
}

}  // namespace anya::python
