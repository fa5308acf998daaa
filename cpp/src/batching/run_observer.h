// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include "anya/request.h"
#include "stats/model_counters.h"

namespace anya {

// Looks at the answers of a run before they are published, on the run's own thread: what it costs, the batch waits for.
// Requests that were ended meanwhile have no answer. Thread-safe; must not block.
class RunObserver {
 public:
  virtual ~RunObserver() = default;
  virtual void answered(std::span<Request* const> requests, ModelCounters& counters) const noexcept = 0;
};

}  // namespace anya
