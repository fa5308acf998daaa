// SPDX-License-Identifier: Apache-2.0
#include "batching/standing.h"

#include <utility>

namespace anya {

Standing::Standing(const std::optional<BreakerOptions>& breaker)
    : breaker_(breaker ? std::make_unique<Breaker>(*breaker) : nullptr) {}

Status Standing::barred(Nanos now) noexcept {
  if (failed()) return Status::failure(ErrorCode::kUnavailable, Reason::kDeviceFailed);
  if (breaker_ == nullptr) return {};
  const Nanos left = breaker_->refuses(now);
  return left == 0 ? Status{} : Status::failure(ErrorCode::kUnavailable, Reason::kBreakerOpen, left);
}

std::optional<CircuitStats> Standing::circuit(Nanos now) const {
  return breaker_ == nullptr ? std::nullopt : std::optional(breaker_->read(now));
}

bool Standing::inject(std::shared_ptr<const Faults> faults) {
  const MutexLock lock(injecting_);
  if (faults != nullptr && faults_ != nullptr) return false;
  faults_ = std::move(faults);
  faulty_.store(faults_ != nullptr, std::memory_order_relaxed);
  return true;
}

std::shared_ptr<const Faults> Standing::faults() const noexcept {
  if (!faulty_.load(std::memory_order_relaxed)) return nullptr;
  const MutexLock lock(injecting_);
  return faults_;
}

}  // namespace anya
