// SPDX-License-Identifier: Apache-2.0
//
// From a batch that has been formed to the outcomes of its requests; the queue is in batcher.cc.
#include <algorithm>
#include <utility>

#include "anya/completion_queue.h"
#include "anya/rollout_tally.h"
#include "batching/batcher.h"

namespace anya {

void Batcher::run_batch(Instance& instance) noexcept {
  run(instance, instance.batch, Stop::kWhenDead);
  running_rows_.fetch_sub(rows_of(instance.batch), std::memory_order_relaxed);
  for (Request* request : instance.batch) request->release();
  instance.batch.clear();
  signal_all(instance);
}

// Runs the requests as one; if that fails, runs each half by itself, until only the culprit fails.
void Batcher::run(Instance& instance, std::span<Request* const> requests, Stop stop) noexcept {
  const auto number = static_cast<std::int32_t>(&instance - instances_.data());
  if (stop == Stop::kWhenDead && !instance.watch.begin(requests, number)) return;
  const Nanos started_at = clock_.now();
  const std::int64_t rows = rows_of(requests);
  counters_->began();
  Status status = requests.size() == 1 ? run_alone(session_, instance, *requests.front())
                                       : run_together(session_, instance, requests, setup_.predictable);
  counters_->ran(rows);
  if (stop == Stop::kWhenDead && instance.watch.end()) {
    counters_->terminated();  // all of them have their outcomes
    return;
  }
  if (!status.ok() && requests.size() > 1) {
    counters_->split();
    for (Request* request : requests) {
      for (OutputBuffer& output : request->outputs) {
        if (output.owner != nullptr) output = OutputBuffer{};  // half an answer of the failed run
      }
    }
    run(instance, requests.first(requests.size() / 2), stop);
    run(instance, requests.subspan(requests.size() / 2), stop);
    return;
  }
  const Nanos ended_at = clock_.now();
  if (status.ok()) cost_.of(requests.front()->cost_class).observe(rows, ended_at - started_at);
  if (status.ok()) door_.ran(requests.size(), ended_at - started_at, instance.left_others);
  if (status.ok() && requests.size() == 1) learn(ended_at - started_at);
  if (status.ok() && setup_.observer != nullptr) {
    for (const Request* request : requests) {
      if (!request->is_claimed()) setup_.observer->answered(*request, *counters_);
    }
  }
  for (Request* request : requests) finish(instance, *request, status, started_at, ended_at, rows);
}

// For the judge of a rollout: what the version itself answered or failed to.
void Batcher::tally(const Request& request, ErrorCode code) noexcept {
  if (code == ErrorCode::kCancelled || code == ErrorCode::kUnavailable) return;
  const Nanos compute = request.started_at == 0 ? 0 : request.ended_at - request.started_at;
  request.tally->answered(static_cast<RolloutTally::Arm>(request.tally_arm), request.key_hash, code != ErrorCode::kOk,
                          compute, request.batch_rows, request.cost_class, request.ended_at);
}

void Batcher::trace(const Request& request) noexcept {
  TraceEvent event;
  event.context = request.trace;
  event.request_id = request.id;
  event.model = request.trace_model;
  event.instance = request.running_on();
  event.code = request.status.code;
  event.role = request.role;
  event.batch_rows = request.batch_rows;
  event.accepted_at = request.accepted_at;
  event.started_at = request.started_at;
  event.ended_at = request.ended_at;
  request.trace_events->push(event);
  request.batcher->counters_->traced(event.context.trace_high, event.context.trace_low,
                                     request.ended_at - request.accepted_at);
}

// REQUIRES: the caller has won the claim. Returns the completion queue to signal, or null.
CompletionQueue* Batcher::settle(Request& request, Status status, Nanos started_at, Nanos ended_at,
                                 std::int64_t rows) noexcept {
  const ErrorCode code = status.code;
  request.status = std::move(status);
  request.started_at = started_at;
  request.ended_at = ended_at;
  request.batch_rows = rows;
  if (request.watcher != nullptr) request.watcher->decided(request);
  // What a version answers from its cache says nothing of the version; what it failed at does, whatever was given.
  if (request.tally != nullptr && !request.by_other) tally(request, code);
  if (request.trace_events != nullptr) trace(request);
  // Once it is counted as ended the batcher may be gone (close() waits for the counts): only the request is touched
  // then.
  request.batcher->counters_->ended(request.status.code, request.role, request.accepted_at, started_at, ended_at);
  return request.publish();
}

void Batcher::finish(Instance& instance, Request& request, const Status& status, Nanos started_at, Nanos ended_at,
                     std::int64_t rows) noexcept {
  if (!request.claim()) return;
  CompletionQueue* const signal = settle(request, status, started_at, ended_at, rows);
  if (signal != nullptr) instance.signals.push_back(signal);
}

bool Batcher::conclude(Request& request, Status status, Nanos ended_at) noexcept {
  if (!request.claim()) return false;
  const std::int32_t instance = request.running_on();
  if (instance != Request::kNotRunning) {
    request.batcher->instances_[static_cast<std::size_t>(instance)].watch.stop_if_dead(ended_at);
  }
  CompletionQueue* const signal = settle(request, std::move(status), 0, ended_at, 0);
  if (signal != nullptr) signal->signal();
  return true;
}

bool Batcher::conclude(Request& request, std::shared_ptr<const CachedAnswer> answer, Nanos ended_at) noexcept {
  if (!request.claim()) return false;
  request.answer = std::move(answer);
  CompletionQueue* const signal = settle(request, Status{}, 0, ended_at, 0);
  if (signal != nullptr) signal->signal();
  return true;
}

void Batcher::signal_all(Instance& instance) noexcept {
  std::sort(instance.signals.begin(), instance.signals.end());
  const auto last = std::unique(instance.signals.begin(), instance.signals.end());
  for (auto it = instance.signals.begin(); it != last; ++it) (*it)->signal();
  instance.signals.clear();
}

Gate::View Batcher::give_back(std::size_t slot) noexcept {
  slots_.put(slot);
  const Gate::View after = gate_.release();
  if (after.closed()) drained_.notify_all();
  return after;
}

// A decaying peak: up half the way at once, down by 1/128 a run. Stays above the p99 of a steady run time.
void Batcher::learn(Nanos duration) noexcept {
  const Nanos old = slow_run_.load(std::memory_order_relaxed);  // lost updates only make it a little staler
  const Nanos next = duration > old ? old + std::max<Nanos>(1, (duration - old) / 2) : old - (old - duration) / 128;
  slow_run_.store(old == 0 ? duration : next, std::memory_order_relaxed);
}

}  // namespace anya
