// SPDX-License-Identifier: Apache-2.0
#include "batching/batcher.h"

#include <algorithm>
#include <utility>

#include "anya/completion_queue.h"
#include "anya/rollout_tally.h"
#include "base/thread.h"

namespace anya {
namespace {

// What waking another thread costs, about: less work than this is not worth sharing.
constexpr Nanos kHop = 50'000;
// What a batch costs besides its run, about: forming it, and waking those who wait, an event loop mostly.
constexpr Nanos kPerRun = 20'000;
// What an event loop spends on a request besides the run is twice this, about: a batch that adds no more than half to
// it is not worth a hop either.
constexpr Nanos kLoopWork = 2'000;
// A request that comes by itself finds cold caches, where a hop takes several times as long as in a crowd, as does its
// run; and nobody waits behind it.
constexpr Nanos kLoneHops = 4;

std::int64_t rows_of(std::span<Request* const> requests) noexcept {
  std::int64_t rows = 0;
  for (const Request* request : requests) rows += std::max<std::int64_t>(1, request->rows);
  return rows;
}

BatchFormer::Limits limits_of(const Batcher::Setup& setup) {
  return {std::max<std::int64_t>(1, setup.batching.max_batch_size), setup.batching.max_queue_delay_microseconds * 1000,
          setup.batchable};
}

}  // namespace

Batcher::Batcher(Session& session, const Clock& clock, Setup setup)
    : session_(session),
      clock_(clock),
      setup_(std::move(setup)),
      limit_(static_cast<std::uint32_t>(setup_.batching.max_queue_size)),
      gate_(static_cast<std::uint32_t>(setup_.instances)),
      slots_(static_cast<std::size_t>(setup_.instances)),
      intake_(limit_),
      cost_(setup_.one_shape),
      instances_(static_cast<std::size_t>(setup_.instances)),
      former_(limits_of(setup_)) {
  reset_run_times();
  // Hot-path containers get their room now, so that no push on a worker can run out of memory.
  former_.reserve(limit_);
  for (Instance& instance : instances_) {
    instance.control = session_.make_run_control();
    instance.batch.reserve(limit_);
    instance.dead.reserve(limit_);
    instance.signals.reserve(limit_);
  }
  try {
    for (int i = 0; i < setup_.instances; ++i) {
      workers_.push_back(start_thread(("anya-" + setup_.name).c_str(), [this] { work(); }));
    }
  } catch (...) {
    close();
    throw;
  }
}

Batcher::~Batcher() = default;

bool Batcher::run_here(Request& request) noexcept {
  if (!gate_.try_enter_idle()) return false;
  Request* const only = &request;
  run_at_once({&only, 1});
  return true;
}

bool Batcher::run_here(std::span<Request* const> requests) noexcept {
  if (!is_short(requests) || !gate_.try_enter_idle()) return false;
  run_at_once(requests);
  return true;
}

bool Batcher::is_short(std::span<Request* const> requests) const noexcept {
  const Nanos hop = setup_.batching.max_in_place_microseconds * 1000 * (requests.size() == 1 ? kLoneHops : 1);
  const Nanos limit = hop + kLoopWork * static_cast<Nanos>(requests.size());
  if (setup_.batching.max_in_place_microseconds == 0 || (requests.size() > 1 && !setup_.batchable)) return false;
  for (const Request* request : requests) {
    if (!may_share(*requests.front(), *request)) return false;
    if (request->deadline != kNever && request->deadline <= clock_.now()) return false;  // the queue will drop it
  }
  const std::int64_t rows = rows_of(requests);
  if (requests.size() > 1 && rows > setup_.batching.max_batch_size) return false;
  const Nanos predicted = cost_.of(requests.front()->cost_class).predict(rows);
  return predicted != 0 && predicted < limit;
}

// REQUIRES: an instance has been taken from the gate.
void Batcher::run_at_once(std::span<Request* const> requests) noexcept {
  counters_.accepted(requests.size());
  counters_.in_place();
  for (Request* request : requests) request->batcher = this;
  const std::size_t slot = slots_.take();
  Instance& instance = instances_[slot];
  run(instance, requests);
  signal_all(instance);
  if (give_back(slot).waiting() > 0) wake_.notify(1);
}

std::size_t Batcher::enqueue(std::span<Request* const> requests) noexcept {
  Gate::View seen(0);
  const std::uint32_t booked = gate_.book(static_cast<std::uint32_t>(requests.size()), limit_, seen);
  counters_.accepted(booked);
  for (std::uint32_t i = 0; i < booked; ++i) {
    Request* const request = requests[i];
    request->batcher = this;
    request->retain();
    // A booked place is a free cell, but its last reader may be between reading it and handing it on.
    while (!intake_.try_push(request)) std::this_thread::yield();
  }
  if (booked < requests.size()) {
    counters_.refused(why().code, requests.size() - booked);
  }
  if (booked > 0 && wake_.announce()) {
    const Gate::View now = gate_.view();
    const std::uint32_t able = now.free() + (now.lingering() ? 1U : 0U);
    if (able > 0) wake_.wake(static_cast<int>(std::min(able, booked)));
  }
  return booked;
}

Status Batcher::why() const noexcept {
  const Gate::View now = gate_.view();
  if (now.closed()) return Status::failure(ErrorCode::kUnavailable, Reason::kClosed);
  return Status::failure(ErrorCode::kOverloaded, Reason::kQueueFull, std::max(now.waiting(), limit_), limit_);
}

void Batcher::work() noexcept {
  for (;;) {
    const EventCount::Key key = wake_.prepare_wait();
    if (stopping_.load(std::memory_order_seq_cst)) {
      wake_.cancel_wait();
      return;
    }
    if (gate_.view().waiting() == 0 || !gate_.try_take()) {
      wake_.wait(key);
      continue;
    }
    const std::size_t slot = slots_.take();
    Instance& instance = instances_[slot];
    bool found = next_batch(instance, /*freed=*/false);
    if (!found) {
      // Somebody has booked a place and not pushed yet; that push will change the key.
      give_back(slot);
      wake_.wait(key);
      continue;
    }
    wake_.cancel_wait();
    for (; found; found = next_batch(instance, /*freed=*/true)) run_batch(instance);
    give_back(slot);
  }
}

void Batcher::drain_intake() {
  Request* request = nullptr;
  while (intake_.try_pop(request)) former_.add(request);
}

// Fills instance.batch; false: nothing to do now.
bool Batcher::next_batch(Instance& instance, bool freed) noexcept {
  const bool may_linger = freed && setup_.batching.max_queue_delay_microseconds > 0;
  for (;;) {
    EventCount::Key key = 0;
    if (may_linger) key = wake_.prepare_wait();  // company that comes while we decide must not be missed
    Nanos again = kNever;
    std::size_t left = 0;
    {
      MutexLock lock(scheduling_);
      drain_intake();
      BatchFormer::Instances instances;
      instances.count = static_cast<std::uint32_t>(setup_.instances);
      instances.idle = gate_.view().free() + 1;
      instances.running_rows = running_rows_.load(std::memory_order_relaxed);
      instances.cost = &cost_;
      instances.per_run = kPerRun;
      instances.hop = kHop;
      instances.turn = polls_++;
      instances.freed = freed;
      again = former_.poll(clock_.now(), instances, instance.batch, instance.dead);
      running_rows_.fetch_add(rows_of(instance.batch), std::memory_order_relaxed);
      left = former_.size();
    }
    const bool linger = instance.batch.empty() && instance.dead.empty() && again != kNever;
    if (may_linger && !linger) wake_.cancel_wait();
    if (!instance.batch.empty()) {
      gate_.leave(static_cast<std::uint32_t>(instance.batch.size()));
      if (left > 0 && gate_.view().free() > 0) wake_.notify(1);
      drop_dead(instance);
      return true;
    }
    if (!instance.dead.empty()) {
      drop_dead(instance);
      continue;
    }
    if (!linger) return false;
    gate_.set_lingering();
    wake_.wait(key, again);
    gate_.clear_lingering();
  }
}

void Batcher::drop_dead(Instance& instance) noexcept {
  if (instance.dead.empty()) return;
  const Nanos now = clock_.now();
  for (Request* request : instance.dead) {
    finish(instance, *request, Status::failure(ErrorCode::kDeadlineExceeded, Reason::kExpiredInQueue, request->timeout),
           0, now, 0);
    request->release();
  }
  gate_.leave(static_cast<std::uint32_t>(instance.dead.size()));
  instance.dead.clear();
  signal_all(instance);
}

void Batcher::run_batch(Instance& instance) noexcept {
  run(instance, instance.batch);
  running_rows_.fetch_sub(rows_of(instance.batch), std::memory_order_relaxed);
  for (Request* request : instance.batch) request->release();
  instance.batch.clear();
  signal_all(instance);
}

// Runs the requests as one; if that fails, runs each half by itself, until only the culprit fails.
void Batcher::run(Instance& instance, std::span<Request* const> requests) noexcept {
  const Nanos started_at = clock_.now();
  const std::int64_t rows = rows_of(requests);
  Status status = requests.size() == 1 ? run_alone(session_, instance, *requests.front())
                                       : run_together(session_, instance, requests, setup_.predictable);
  counters_.ran(rows);
  if (!status.ok() && requests.size() > 1) {
    counters_.split();
    for (Request* request : requests) {
      for (OutputBuffer& output : request->outputs) {
        if (output.owner != nullptr) output = OutputBuffer{};  // half an answer of the failed run
      }
    }
    run(instance, requests.first(requests.size() / 2));
    run(instance, requests.subspan(requests.size() / 2));
    return;
  }
  const Nanos ended_at = clock_.now();
  if (status.ok()) cost_.of(requests.front()->cost_class).observe(rows, ended_at - started_at);
  if (status.ok() && requests.size() == 1) learn(ended_at - started_at);
  for (Request* request : requests) finish(instance, *request, status, started_at, ended_at, rows);
}

// For the judge of a rollout: what the version itself answered or failed to.
void Batcher::tally(const Request& request, ErrorCode code) noexcept {
  if (code == ErrorCode::kCancelled || code == ErrorCode::kUnavailable) return;
  const Nanos compute = request.started_at == 0 ? 0 : request.ended_at - request.started_at;
  request.tally->answered(static_cast<RolloutTally::Arm>(request.tally_arm), request.key_hash, code != ErrorCode::kOk,
                          compute, request.batch_rows, request.cost_class, request.ended_at);
}

// True if this call decided the outcome. *signal: the completion queue to signal, or null.
bool Batcher::finish(Request& request, Status status, Nanos started_at, Nanos ended_at, std::int64_t rows,
                     CompletionQueue** signal) noexcept {
  *signal = nullptr;
  if (!request.claim()) return false;
  const ErrorCode code = status.code;
  request.status = std::move(status);
  request.started_at = started_at;
  request.ended_at = ended_at;
  request.batch_rows = rows;
  if (request.tally != nullptr) tally(request, code);
  // Once it is counted as ended the batcher may be gone (close() waits for the counts): only the request is touched
  // then.
  request.batcher->counters_.ended(code, request.accepted_at, started_at, ended_at);
  *signal = request.publish();
  return true;
}

void Batcher::finish(Instance& instance, Request& request, const Status& status, Nanos started_at, Nanos ended_at,
                     std::int64_t rows) noexcept {
  CompletionQueue* signal = nullptr;
  finish(request, status, started_at, ended_at, rows, &signal);
  if (signal != nullptr) instance.signals.push_back(signal);
}

bool Batcher::conclude(Request& request, Status status, Nanos ended_at) noexcept {
  CompletionQueue* signal = nullptr;
  const bool decided = finish(request, std::move(status), 0, ended_at, 0, &signal);
  if (signal != nullptr) signal->signal();
  return decided;
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

void Batcher::close() noexcept {
  MutexLock lock(closing_);
  gate_.close();
  for (;;) {
    const EventCount::Key key = drained_.prepare_wait();
    const Gate::View now = gate_.view();
    if (now.waiting() == 0 && now.free() == static_cast<std::uint32_t>(setup_.instances)) {
      drained_.cancel_wait();
      break;
    }
    wake_.notify_all();
    drained_.wait(key);
  }
  // Whoever decided an outcome a moment ago may still be about to count it: a few instructions.
  while (counters_.in_flight() != 0) std::this_thread::yield();
  stopping_.store(true, std::memory_order_seq_cst);
  wake_.notify_all();
  for (std::jthread& worker : workers_) {
    if (worker.joinable()) worker.join();
  }
}

void Batcher::reset_run_times() noexcept {
  cost_.reset();
  for (const auto& [rows, duration] : setup_.run_times) cost_.of(0).seed(rows, duration);
  slow_run_.store(0, std::memory_order_relaxed);
}

void Batcher::read(ModelStats& stats) const {
  counters_.read(stats);
  stats.run_times = cost_.read();
  const Gate::View now = gate_.view();
  stats.queue_depth = now.waiting();
  stats.instances = static_cast<std::uint64_t>(setup_.instances);
  stats.instances_busy = stats.instances - std::min<std::uint64_t>(stats.instances, now.free());
}

}  // namespace anya
