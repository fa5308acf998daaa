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
#include "anya/stats.h"
#include "base/fork_guard.h"
#include "base/mutex.h"
#include "batching/batcher.h"
#include "batching/deadline_timer.h"
#include "model/admission.h"
#include "model/answer_cache.h"
#include "model/monitors.h"
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

// What a model and its twins have in common: the session, and the rules that it and its inputs are held to.
struct Opened {
  Opened(std::unique_ptr<Session> bare, const ModelRules& model_rules);

  RuleBook rules;
  const std::unique_ptr<Session> session;
};

struct Model::Impl {
  Impl(std::shared_ptr<EngineShared> shared, ModelInfo info, std::unique_ptr<Session> session,
       Admission::Rules admission_rules, const BatchingOptions& batching,
       const std::vector<MeasuredRun>& run_times = {}, Timeouts timeouts = {}, const ModelRules& model_rules = {},
       const CacheOptions& cache = {}, const std::optional<BreakerOptions>& breaker = {},
       const PredictionOptions& predictions = {}, const CounterMemory& memory = {});
  struct TwinOf {
    const Impl& model;
    std::shared_ptr<ModelCounters> counters;
  };
  explicit Impl(TwinOf of);  // a queue and instances of its own, on the same session

  // What was counted there; no gauges.
  // From now on there are no new twins; those there are.
  std::vector<std::shared_ptr<Model>> refuse_twins() noexcept;
  [[nodiscard]] ModelStats counted(const ModelCounters& of) const;

  const std::shared_ptr<EngineShared> shared;
  const ModelInfo info;
  const std::shared_ptr<Opened> opened;
  const Admission admission;
  const Timeouts timeouts;
  const std::vector<std::string> classes;                // what is predicted
  const std::shared_ptr<const RunObserver> predictions;  // null: nobody looks
  const std::shared_ptr<ModelCounters> counters;
  const std::shared_ptr<ModelCounters> of_twins;  // one at a time counts here; null: this is one

  mutable Mutex mutex;
  std::vector<std::shared_ptr<Model>> twins GUARDED_BY(mutex);
  ModelStats of_past_twins GUARDED_BY(mutex);  // who counted elsewhere, because another twin was still there
  bool closed GUARDED_BY(mutex) = false;
  Monitors monitors GUARDED_BY(mutex);
  std::string profile GUARDED_BY(mutex);

  std::unique_ptr<AnswerCache> cache;  // null: none was asked for
  Batcher batcher;                     // last: its threads end before what they use
};

}  // namespace anya
