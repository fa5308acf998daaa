// SPDX-License-Identifier: Apache-2.0
#include "model/monitors.h"

#include <utility>

namespace anya {

void Monitors::watch(std::optional<DriftPlan> plan, Batcher& batcher, int instances, const Clock& clock) {
  DriftMonitor* counting = nullptr;
  if (plan) {
    monitors_.push_back(std::make_unique<DriftMonitor>(*plan, static_cast<std::size_t>(instances), clock));
    counting = monitors_.back().get();
  }
  batcher.watch_drift(counting);
  plan_ = std::move(plan);
  of_past_twins_ = {};
}

DriftCounts Monitors::take() {
  if (!plan_) return {};
  DriftCounts counts = monitors_.back()->take();
  add(counts, std::exchange(of_past_twins_, {}));
  return counts;
}

}  // namespace anya
