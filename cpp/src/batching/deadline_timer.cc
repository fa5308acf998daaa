// SPDX-License-Identifier: Apache-2.0
#include "batching/deadline_timer.h"

#include <algorithm>
#include <utility>

#include "base/thread.h"

namespace anya {
namespace {
constexpr std::size_t kSmall = std::size_t{4} << 20U;      // ended requests may keep so many bytes
constexpr std::size_t kOverhead = std::size_t{16} << 10U;  // what a request weighs besides its tensors; generous

bool later(const Request* a, const Request* b) noexcept { return a->watched_until > b->watched_until; }
}  // namespace

DeadlineTimer::DeadlineTimer(const Clock& clock, std::function<void(Request&)> expire)
    : clock_(clock), expire_(std::move(expire)), thread_(start_thread("anya-deadlines", [this] { work(); })) {}

DeadlineTimer::~DeadlineTimer() { close(); }

void DeadlineTimer::close() noexcept {
  MutexLock lock(closing_);
  stopping_.store(true, std::memory_order_seq_cst);
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
  drop_all();
}

void DeadlineTimer::drop_all() noexcept {
  take_arrivals();
  for (Request* request : heap_) request->release();
  heap_.clear();
  weight_ = 0;
}

void DeadlineTimer::watch(Request& request) noexcept {
  request.retain();
  const Nanos until = std::min(request.deadline, request.leave_at);
  const std::size_t mine = weight(request);
  request.watched_until = until;
  // From here on the links of the request are the thread's. In one order with next_wake_: either we see the time the
  // thread is about to sleep until, or its last look at the arrivals sees us.
  arrivals_.push(&request);
  // Relaxed: only how often the thread sweeps hangs on it.
  const std::size_t arrived = arrived_weight_.fetch_add(mine, std::memory_order_relaxed) + mine;
  if (arrived >= kSmall || until < next_wake_.load(std::memory_order_seq_cst)) wake_.notify(1);
  // In one order with close: either its last look at the arrivals sees this request, or we see that it has been called.
  if (stopping_.load(std::memory_order_seq_cst)) {
    MutexLock lock(closing_);
    if (!thread_.joinable()) drop_all();
  }
}

std::size_t DeadlineTimer::weight(const Request& request) noexcept {
  std::size_t bytes = kOverhead;
  for (const TensorView& input : request.inputs) bytes += input.bytes;
  return bytes;
}

void DeadlineTimer::take_arrivals() {
  arrived_weight_.store(0, std::memory_order_relaxed);
  Request* request = arrivals_.take_all();
  while (request != nullptr) {
    Request* const next = request->next_watched;
    if (request->ended()) {
      request->release();
    } else {
      weight_ += weight(*request);
      heap_.push_back(request);
      std::ranges::push_heap(heap_, later);
    }
    request = next;
  }
}

// Most requests end long before their deadline; without this the heap would hold a deadline's worth of finished ones.
void DeadlineTimer::forget_ended() {
  if (weight_ < std::max(forget_at_, kSmall)) return;
  const auto ended = std::ranges::partition(heap_, [](const Request* r) { return !r->ended(); }).begin();
  for (auto it = ended; it != heap_.end(); ++it) {
    weight_ -= weight(**it);
    (*it)->release();
  }
  heap_.erase(ended, heap_.end());
  std::ranges::make_heap(heap_, later);
  forget_at_ = weight_ * 2;
}

void DeadlineTimer::work() noexcept {
  while (!stopping_.load(std::memory_order_acquire)) {
    const EventCount::Key key = wake_.prepare_wait();
    take_arrivals();
    forget_ended();
    const Nanos now = clock_.now();
    while (!heap_.empty() && heap_.front()->watched_until <= now) {
      std::ranges::pop_heap(heap_, later);
      Request* const request = heap_.back();
      heap_.pop_back();
      expire_(*request);
      if (request->deadline != kNever && request->deadline > now && !request->ended()) {
        request->watched_until = request->deadline;  // only its time in the queue is over, and it has left that
        heap_.push_back(request);
        std::ranges::push_heap(heap_, later);
        continue;
      }
      weight_ -= weight(*request);
      request->release();
    }
    const Nanos next = heap_.empty() ? kNever : heap_.front()->watched_until;
    next_wake_.store(next, std::memory_order_seq_cst);
    if (!arrivals_.empty() || stopping_.load(std::memory_order_seq_cst)) {
      wake_.cancel_wait();
      continue;
    }
    wake_.wait(key, next);
  }
}

}  // namespace anya
