// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "anya/request.h"
#include "stats/model_counters.h"

namespace anya {

// Looks at the answer of every request that a run gave one, before it is published, on the run's own thread: what it
// costs, the batch waits for. Thread-safe; must not block.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void answered(const Request& request, ModelCounters& counters) const noexcept = 0;
};

}  // namespace anya
