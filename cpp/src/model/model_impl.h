// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anya/clock.h"
#include "anya/model.h"
#include "anya/session.h"
#include "base/fork_guard.h"
#include "batching/batcher.h"
#include "batching/deadline_timer.h"
#include "model/admission.h"
#include "model/rule_book.h"
#include "model/run_times.h"

namespace anya {

// What all models of one engine share; kept alive by each of them.
struct EngineShared {
  explicit EngineShared(std::shared_ptr<const Clock> the_clock);

  const std::shared_ptr<const Clock> clock;
  const ForkGuard fork_guard;
  DeadlineTimer timer;
};

// In nanoseconds; kNever: none.
struct Timeouts {
  Nanos usual = kNever;    // of a request that names none
  Nanos longest = kNever;  // that one may name
};
Timeouts timeouts_of(const ModelOptions& options);

struct Model::Impl {
  Impl(std::shared_ptr<EngineShared> shared, ModelInfo info, std::unique_ptr<Session> session,
       Admission::Rules admission_rules, BatchingOptions batching, const std::vector<MeasuredRun>& run_times = {},
       Timeouts timeouts = {}, const ModelRules& model_rules = {}, std::optional<BreakerOptions> breaker = {});

  const std::shared_ptr<EngineShared> shared;
  const ModelInfo info;
  RuleBook rules;
  const std::unique_ptr<Session> session;
  const Admission admission;
  const Timeouts timeouts;
  Batcher batcher;  // last: its threads end before what they use
};

}  // namespace anya
