// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "anya/clock.h"
#include "anya/drift.h"
#include "batching/batcher.h"
#include "stats/drift_monitor.h"

namespace anya {

// Who counts what a model is asked and answers: the monitor of its plan, and those of earlier plans, in which a run may
// still be counting. A twin of the model counts by the same plan, in monitors of its own. Not thread-safe: the model's
// mutex protects it. Owns the monitors; ends after the batcher.
class Monitors {
 public:
  // From now on by this plan; none: nowhere. What was counted by an earlier one is gone. Throws Error(kConfigError) for
  // a plan that contradicts itself.
  void watch(std::optional<DriftPlan> plan, Batcher& batcher, int instances, const Clock& clock);
  [[nodiscard]] const std::optional<DriftPlan>& plan() const noexcept { return plan_; }

  // What was counted since it was last taken, by the model itself and by twins that have ended; empty: nothing counts.
  [[nodiscard]] DriftCounts take();
  // What a twin had counted when it ended.
  void keep(const DriftCounts& of_twin) { add(of_past_twins_, of_twin); }

 private:
  std::optional<DriftPlan> plan_;
  std::vector<std::unique_ptr<DriftMonitor>> monitors_;  // the last one counts, where there is a plan
  DriftCounts of_past_twins_;
};

}  // namespace anya
