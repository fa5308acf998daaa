// SPDX-License-Identifier: Apache-2.0
//
// From a batch that has been formed to the outcomes of its requests; the queue is in batcher.cc.
#include <algorithm>
#include <chrono>
#include <thread>
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
  const auto number = static_cast<std::int32_t>(number_of(instance));
  if (stop == Stop::kWhenDead && !instance.watch.begin(requests, number)) return;
  const Nanos started_at = clock_.now();
  const std::int64_t rows = rows_of(requests);
  counters_->began();
  const Status status = run_session(instance, requests);
  counters_->ran(rows);
  if (stop == Stop::kWhenDead && instance.watch.end()) {
    counters_->terminated();  // all of them have their outcomes
    let_go_of_outputs(instance);
    return;
  }
  if (status.reason == Reason::kDeviceFailed) standing().lose_device();
  if (status.code == ErrorCode::kOutOfMemory && requests.size() > 1) row_limit_.ran_out(rows);
  if (status.ok()) row_limit_.fitted(rows);
  if (!status.ok() && requests.size() > 1 && !standing().failed()) {
    counters_->split();
    let_go_of_outputs(instance);
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
  // Acquire: what the monitor was made of.
  DriftMonitor* const drift = status.ok() ? drift_.load(std::memory_order_acquire) : nullptr;
  const bool is_lent = drift != nullptr && requests.size() == 1 && !instance.in_place;
  if (is_lent) keep_for_drift(*drift, instance, *requests.front(), ended_at - started_at);
  if (status.ok() && setup_.observer != nullptr) setup_.observer->answered(requests, *counters_);
  for (Request* request : requests) finish(instance, *request, status, started_at, ended_at, rows);
  if (drift != nullptr) {
    if (!instance.in_place) signal_all(instance);  // those who wait come first
    if (is_lent) {
      drift->look_at_kept(number_of(instance));
    } else {
      look_for_drift(*drift, instance, requests, ended_at - started_at);
    }
  }
  let_go_of_outputs(instance);
}

// A lone request's arrays are its caller's again as soon as it has its answer: the next run may write to them.
void Batcher::keep_for_drift(DriftMonitor& monitor, Instance& instance, const Request& request,
                             Nanos compute) noexcept {
  const DriftMonitor::Asker asker{request.id, request.rows};
  monitor.keep(number_of(instance), {{&asker, 1}, request.inputs, request.outputs, request.output_indices, compute});
}

// Of several requests there is a copy in the instance's slabs; one that ran in place is not out before this returns.
// REQUIRES: the requests are held, by this thread's caller or by the queue.
void Batcher::look_for_drift(DriftMonitor& monitor, Instance& instance, std::span<Request* const> requests,
                             Nanos compute) noexcept {
  const Request& first = *requests.front();
  if (requests.size() == 1) {
    const DriftMonitor::Asker asker{first.id, first.rows};
    monitor.look(number_of(instance), {{&asker, 1}, first.inputs, first.outputs, first.output_indices, compute});
    return;
  }
  instance.askers.clear();
  for (const Request* request : requests) instance.askers.push_back({request->id, request->rows});
  monitor.look(number_of(instance),
               {instance.askers, instance.inputs, instance.outputs, first.output_indices, compute});
}

Status Batcher::run_session(Instance& instance, std::span<Request* const> requests) noexcept {
  if (standing().failed()) return Status::failure(ErrorCode::kUnavailable, Reason::kDeviceFailed);
  if (const std::shared_ptr<const Faults> faults = standing().faults()) {
    if (Status status = injected(*faults, instance, requests); !status.ok()) return status;
  }
  return requests.size() == 1 ? run_alone(session_, instance, *requests.front())
                              : run_together(session_, instance, requests, setup_.predictable);
}

// A run that befalls one of its requests befalls them all; the halves find out which it was.
Status Batcher::injected(const Faults& faults, const Instance& instance,
                         std::span<Request* const> requests) const noexcept {
  const auto is_befallen = [&](const Request* request) {
    std::uint64_t mixed = (request->id + 1) * 0x9E3779B97F4A7C15U;
    mixed = (mixed ^ mixed >> 32U) * 0xD6E8FEB86659FD93U;
    return static_cast<double>((mixed ^ mixed >> 32U) >> 11U) * 0x1p-53 < faults.rate;
  };
  if (std::ranges::none_of(requests, is_befallen)) return {};
  constexpr Nanos kSlice = 1'000'000;
  const Nanos until = clock_.now() + faults.delay;
  // As a real run does, it gives up between two operators when nobody waits for it any more.
  for (Nanos now = clock_.now(); now < until && instance.watch.stopped_at() == 0; now = clock_.now()) {
    std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(kSlice, until - now)));
  }
  if (faults.code == ErrorCode::kOk) return {};
  return Status::failure(faults.code, faults.device_lost ? Reason::kDeviceFailed : Reason::kInjected);
}

// For the circuit breaker: what the version itself made of a request. REQUIRES: its times are written.
void Batcher::judge(const Request& request, ErrorCode code) const noexcept {
  Breaker& breaker = *standing().breaker();
  const Nanos run = request.started_at == 0 ? 0 : request.ended_at - request.started_at;
  bool failed = false;
  switch (code) {
    case ErrorCode::kOk:
      break;
    case ErrorCode::kExecutionError:
    case ErrorCode::kOutOfMemory:
    case ErrorCode::kModelOutputInvalid:
      failed = true;
      break;
    case ErrorCode::kDeadlineExceeded:
      failed = request.running_on() != Request::kNotRunning;
      break;
    default:
      break;
  }
  const bool counts = failed || code == ErrorCode::kOk;
  const auto bits = static_cast<std::uint8_t>((failed ? 1U : 0U) | (breaker.is_slow(run) ? 2U : 0U));
  breaker.ended(request.breaker_tag, counts ? static_cast<Breaker::Call>(bits) : Breaker::Call::kNothing,
                request.ended_at);
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
  if (request.breaker_tag != 0) request.batcher->judge(request, code);
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
  std::ranges::sort(instance.signals);
  const auto last = std::ranges::unique(instance.signals).begin();
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
