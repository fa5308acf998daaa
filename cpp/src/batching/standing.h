// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <optional>

#include "anya/clock.h"
#include "anya/faults.h"
#include "anya/options.h"
#include "anya/stats.h"
#include "anya/status.h"
#include "base/mutex.h"
#include "batching/breaker.h"

namespace anya {

// How a version stands, whichever of its queues is asked: its circuit breaker, whether its device is lost, what goes
// wrong in it on purpose. Time is passed in. Thread-safe; takes no lock while all is well.
class Standing {
 public:
  explicit Standing(const std::optional<BreakerOptions>& breaker = {});

  // Why nobody may come in now, whatever the queue says: the device is lost, the circuit breaker is open.
  [[nodiscard]] Status barred(Nanos now) noexcept;
  // Whether it is worth asking: as a rule it is not.
  [[nodiscard]] bool may_be_barred() const noexcept { return failed() || (breaker_ != nullptr && !breaker_->closed()); }
  [[nodiscard]] Breaker* breaker() const noexcept { return breaker_.get(); }  // null: there is none
  [[nodiscard]] std::optional<CircuitStats> circuit(Nanos now) const;

  // A run has said that its device is lost; nothing runs from then on.
  void lose_device() noexcept { failed_.store(true, std::memory_order_relaxed); }
  [[nodiscard]] bool failed() const noexcept { return failed_.load(std::memory_order_relaxed); }

  // What goes wrong on purpose from now on; null: nothing does. Runs under way are not affected. False: something does
  // already, and still will.
  bool inject(std::shared_ptr<const Faults> faults);
  [[nodiscard]] std::shared_ptr<const Faults> faults() const noexcept;  // null: none

 private:
  const std::unique_ptr<Breaker> breaker_;
  std::atomic<bool> failed_{false};  // goes up once; nothing is read by it, so relaxed
  std::atomic<bool> faulty_{false};  // whether to look at faults_: a run that does not see it yet goes well, so relaxed
  mutable Mutex injecting_;
  std::shared_ptr<const Faults> faults_ GUARDED_BY(injecting_);
};

}  // namespace anya
