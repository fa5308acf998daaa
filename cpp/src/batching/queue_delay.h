// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include "anya/clock.h"

namespace anya {

// Says whether a queue holds more than it can serve, from how long requests have waited (not from how long runs take:
// batches make those longer under load by design). After CoDel: a burst makes long waits too, but some request of each
// interval waits little; when for a whole interval the least wait was above the target, the queue is a standing one.
// It stays overloaded until the least wait of an interval is half the target, since while it is, the door lets in as
// many as keep the wait at the target.
// PURE: time is an argument. Owned by one thread at a time (the batcher's scheduling lock).
class QueueDelay {
 public:
  // `target` 0: never overloaded.
  QueueDelay(Nanos target, Nanos interval) : target_(target), interval_(std::max<Nanos>(1, interval)) {}

  // The least wait among the requests that leave for a run now.
  void observe(Nanos now, Nanos waited) noexcept {
    if (target_ <= 0) return;
    if (began_ < 0) began_ = now;
    least_ = std::min(least_, waited);
    if (now - began_ < interval_) return;
    overloaded_ = overloaded_ ? least_ > target_ / 2 : least_ > target_;
    began_ = now;
    least_ = kNever;
  }
  // Nobody waits any more.
  void idle() noexcept {
    overloaded_ = false;
    began_ = -1;
    least_ = kNever;
  }

  [[nodiscard]] bool overloaded() const noexcept { return overloaded_; }
  [[nodiscard]] Nanos target() const noexcept { return target_; }

 private:
  const Nanos target_;
  const Nanos interval_;
  Nanos began_ = -1;  // of the interval that is being watched; -1: none
  Nanos least_ = kNever;
  bool overloaded_ = false;
};

}  // namespace anya
