// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "anya/clock.h"
#include "anya/request.h"
#include "anya/session.h"
#include "base/mutex.h"

namespace anya {

// Stops the run of one instance when nobody waits for it any more: every member has an outcome, by its deadline or its
// caller. Thread-safe. The lock is held for a look at the members, or for the call that throws the switch; never during
// a run.
class RunWatch {
 public:
  // Before anything else. The control outlives the watch.
  void use(RunControl& control) noexcept { control_ = &control; }

  // The instance is about to run these, which stay as they are until end(). False: all have ended, nobody needs it.
  [[nodiscard]] bool begin(std::span<Request* const> members, std::int32_t instance) noexcept {
    {
      const MutexLock lock(mutex_);
      members_ = members;
    }
    for (Request* member : members) member->set_running_on(instance);
    // Who has claimed one before it could see where it runs is seen here.
    if (!all_ended(members)) return true;
    static_cast<void>(end());
    return false;
  }
  // The run is over; true: it was told to stop. The control is ready for the next one.
  [[nodiscard]] bool end() noexcept {
    const MutexLock lock(mutex_);
    members_ = {};
    if (stopped_at_.load(std::memory_order_relaxed) == 0) return false;
    stopped_at_.store(0, std::memory_order_relaxed);
    control_->reset();
    return true;
  }
  // A member has been claimed: stops the run if it was the last one alive.
  void stop_if_dead(Nanos now) noexcept {
    const MutexLock lock(mutex_);
    if (members_.empty() || stopped_at_.load(std::memory_order_relaxed) != 0 || !all_ended(members_)) return;
    stopped_at_.store(now > 0 ? now : 1, std::memory_order_relaxed);
    control_->terminate();
  }
  // When the run that goes on now was told to stop; 0: it was not, or there is none.
  [[nodiscard]] Nanos stopped_at() const noexcept { return stopped_at_.load(std::memory_order_relaxed); }

 private:
  static bool all_ended(std::span<Request* const> members) noexcept {
    for (const Request* member : members) {
      if (!member->is_claimed()) return false;
    }
    return true;
  }

  RunControl* control_ = nullptr;
  Mutex mutex_;
  std::span<Request* const> members_ GUARDED_BY(mutex_);
  std::atomic<Nanos> stopped_at_{0};  // written under the lock; read alone for the statistics, so relaxed
};

}  // namespace anya
