// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <functional>
#include <thread>
#include <vector>

#include "anya/clock.h"
#include "anya/request.h"
#include "anya/request_stack.h"
#include "base/mutex.h"
#include "sync/event_count.h"

namespace anya {

// Ends requests at their deadline, and where their time in the queue is bounded (Request::leave_at) at that, even when
// no thread waits for them and the model is stuck. One per engine. Thread-safe. watch never blocks and takes no lock:
// requests arrive through a list that the timer's thread takes whole. Holds a reference of each watched request until
// its deadline, or until a sweep has noticed that it ended: what ended requests keep in memory stays below a few MB or
// what the live ones hold, whichever is more.
class DeadlineTimer {
 public:
  // `expire` is called on the timer's thread for a request whose deadline, or time in the queue, has passed. It need
  // not end one that has left the queue: that one is looked at again at its deadline.
  DeadlineTimer(const Clock& clock, std::function<void(Request&)> expire);
  ~DeadlineTimer();
  DeadlineTimer(const DeadlineTimer&) = delete;
  DeadlineTimer& operator=(const DeadlineTimer&) = delete;

  // REQUIRES: the request has a deadline or a leave_at, and is not watched yet.
  void watch(Request& request) noexcept;

  // Drops what it watches, ends nothing any more; blocks until its thread has ended. Idempotent. Afterwards watch does
  // nothing, but may block while this runs.
  void close() noexcept;

 private:
  void work() noexcept;
  static std::size_t weight(const Request& request) noexcept;  // bytes it keeps alive, about
  void take_arrivals();
  void drop_all() noexcept;
  void forget_ended();

  const Clock& clock_;
  const std::function<void(Request&)> expire_;
  RequestStack<&Request::next_watched> arrivals_;
  std::atomic<std::size_t> arrived_weight_{0};
  std::atomic<Nanos> next_wake_{kNever};
  std::atomic<bool> stopping_{false};
  EventCount wake_;
  Mutex closing_;

  // Owned by the timer's thread; after its end by who holds closing_.
  std::vector<Request*> heap_;  // earliest deadline on top
  std::size_t weight_ = 0;      // of what is in the heap
  std::size_t forget_at_ = 0;

  // Last member: joined before anything above it is destroyed.
  std::jthread thread_;
};

}  // namespace anya
