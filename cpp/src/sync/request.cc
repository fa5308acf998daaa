// SPDX-License-Identifier: Apache-2.0
#include "anya/request.h"

#include <climits>

#include "anya/completion_queue.h"
#include "sync/futex.h"

namespace anya {

CompletionQueue* Request::publish() noexcept {
  // Release: who sees kEnded sees the outcome. Acquire: if kNotify is set, so is queue_. The publisher holds a
  // reference, so the request cannot be recycled under the lines below.
  const std::uint32_t before = state_.fetch_or(kEnded, std::memory_order_acq_rel);
  if ((before & kWaiting) != 0) futex_wake(futex_word(state_), INT_MAX);
  if ((before & (kNotify | kNotifyFailure)) == 0) return nullptr;
  if ((before & kNotify) == 0 && status.ok()) {
    static_cast<void>(drop());  // the queue's; the publisher's own is still there
    return nullptr;
  }
  return queue_->push(this) ? queue_ : nullptr;
}

Request::Wait Request::wait(Nanos until) noexcept {
  std::uint32_t seen = state_.load(std::memory_order_acquire);
  for (;;) {
    if ((seen & kEnded) != 0) return Wait::kEnded;
    if ((seen & kWaiting) == 0) {
      if (!state_.compare_exchange_weak(seen, seen | kWaiting, std::memory_order_acq_rel, std::memory_order_acquire)) {
        continue;
      }
      seen |= kWaiting;
    }
    const FutexResult result = futex_wait(futex_word(state_), seen, until);
    seen = state_.load(std::memory_order_acquire);
    if ((seen & kEnded) != 0) return Wait::kEnded;
    if (result == FutexResult::kTimedOut) return Wait::kTimedOut;
    if (result == FutexResult::kInterrupted) return Wait::kInterrupted;
  }
}

void Request::notify_failure_through(CompletionQueue& queue) noexcept {
  queue_ = &queue;
  retain();
  state_.fetch_or(kNotifyFailure, std::memory_order_relaxed);  // nobody else has the request yet
}

bool Request::notify_through(CompletionQueue& queue) noexcept {
  if ((state_.load(std::memory_order_relaxed) & kNotifyFailure) != 0) {  // set before anybody else had the request
    // The queue has its reference. Whether it has been given back already is what kEnded tells.
    return (state_.fetch_or(kNotify, std::memory_order_acq_rel) & kEnded) == 0;
  }
  queue_ = &queue;
  retain();
  // Release: the publisher that sees kNotify sees the queue.
  if ((state_.fetch_or(kNotify, std::memory_order_acq_rel) & kEnded) == 0) return true;
  release();
  return false;
}

void Request::reset() noexcept {
  inputs.clear();
  output_indices.clear();
  outputs.clear();
  tenant.clear();
  id = 0;
  key_hash = 0;
  priority = 0;
  deadline = kNever;
  timeout = kNever;
  tally = nullptr;
  tally_arm = 0;
  role = Role::kStable;
  trace_events = nullptr;
  rows = 0;
  signature = 0;
  cost_class = 0;
  accepted_at = 0;
  leave_at = kNever;
  breaker_tag = 0;
  only_fresh = false;
  watcher = nullptr;
  key.reset();
  flight.reset();
  by_other = false;
  answer.reset();
  stale_age = -1;
  status = Status{};
  started_at = 0;
  ended_at = 0;
  batch_rows = 0;
  next_completed = nullptr;
  next_waiting = nullptr;
  next_watched = nullptr;
  batcher = nullptr;
  queue_ = nullptr;
  // Relaxed: nobody else holds the request now.
  state_.store(0, std::memory_order_relaxed);
  references_.store(1, std::memory_order_relaxed);
  claimed_.store(false, std::memory_order_relaxed);
  running_on_.store(kNotRunning, std::memory_order_relaxed);
}

}  // namespace anya
