// SPDX-License-Identifier: Apache-2.0
#include "batching/deadline_timer.h"

#include <algorithm>
#include <utility>

#include "base/thread.h"

namespace anya {
namespace {
bool later(const Request* a, const Request* b) noexcept { return a->deadline > b->deadline; }
}  // namespace

DeadlineTimer::DeadlineTimer(const Clock& clock, std::function<void(Request&)> expire)
    : clock_(clock), expire_(std::move(expire)), thread_(start_thread("anya-deadlines", [this] { work(); })) {}

DeadlineTimer::~DeadlineTimer() {
  stopping_.store(true, std::memory_order_seq_cst);
  wake_.notify_all();
  thread_.join();
  take_arrivals();
  for (Request* request : heap_) request->release();
}

void DeadlineTimer::watch(Request& request) noexcept {
  request.retain();
  Request* newest = arrivals_.load(std::memory_order_relaxed);  // a guess; the exchange below confirms it
  do {
    request.next_watched = newest;
    // Sequentially consistent against next_wake_: either we see the time the thread is about to sleep until, or its last
    // look at the arrivals sees us.
  } while (!arrivals_.compare_exchange_weak(newest, &request, std::memory_order_seq_cst, std::memory_order_relaxed));
  if (request.deadline < next_wake_.load(std::memory_order_seq_cst)) wake_.notify(1);
}

void DeadlineTimer::take_arrivals() {
  Request* request = arrivals_.exchange(nullptr, std::memory_order_seq_cst);
  while (request != nullptr) {
    Request* const next = request->next_watched;
    if (request->ended()) {
      request->release();
    } else {
      heap_.push_back(request);
      std::push_heap(heap_.begin(), heap_.end(), later);
    }
    request = next;
  }
}

// Most requests end long before their deadline; without this the heap would hold a deadline's worth of finished ones.
void DeadlineTimer::forget_ended() {
  if (heap_.size() < forget_at_) return;
  const auto ended = std::partition(heap_.begin(), heap_.end(), [](const Request* r) { return !r->ended(); });
  for (auto it = ended; it != heap_.end(); ++it) (*it)->release();
  heap_.erase(ended, heap_.end());
  std::make_heap(heap_.begin(), heap_.end(), later);
  forget_at_ = std::max<std::size_t>(4096, heap_.size() * 2);
}

void DeadlineTimer::work() noexcept {
  while (!stopping_.load(std::memory_order_acquire)) {
    const EventCount::Key key = wake_.prepare_wait();
    take_arrivals();
    forget_ended();
    const Nanos now = clock_.now();
    while (!heap_.empty() && heap_.front()->deadline <= now) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      Request* const request = heap_.back();
      heap_.pop_back();
      expire_(*request);
      request->release();
    }
    const Nanos next = heap_.empty() ? kNever : heap_.front()->deadline;
    next_wake_.store(next, std::memory_order_seq_cst);
    if (arrivals_.load(std::memory_order_seq_cst) != nullptr || stopping_.load(std::memory_order_seq_cst)) {
      wake_.cancel_wait();
      continue;
    }
    wake_.wait(key, next);
  }
}

}  // namespace anya
