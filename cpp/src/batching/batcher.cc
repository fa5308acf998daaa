// SPDX-License-Identifier: Apache-2.0
#include "batching/batcher.h"

#include <algorithm>
#include <utility>

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
// A run that was told to stop and goes on for longer than this is reported as stuck.
constexpr Nanos kStuck = 1'000'000'000;

BatchFormer::Limits limits_of(const Batcher::Setup& setup) {
  return {std::max<std::int64_t>(1, setup.batching.max_batch_size), setup.batching.max_queue_delay_microseconds * 1000,
          setup.batchable};
}

Batcher::Setup with_standing(Batcher::Setup setup) {
  if (setup.standing == nullptr) setup.standing = std::make_shared<Standing>();
  return setup;
}

}  // namespace

Batcher::Batcher(Session& session, const Clock& clock, Setup setup)
    : session_(session),
      clock_(clock),
      setup_(with_standing(std::move(setup))),
      limit_(static_cast<std::uint32_t>(setup_.batching.max_queue_size)),
      gate_(static_cast<std::uint32_t>(setup_.instances)),
      slots_(static_cast<std::size_t>(setup_.instances)),
      intake_(limit_),
      counters_(setup_.counters == nullptr ? std::make_shared<ModelCounters>() : setup_.counters),
      cost_(setup_.one_shape),
      door_(setup_.batching, setup_.instances),
      row_limit_(std::max<std::int64_t>(1, setup_.batching.max_batch_size)),
      instances_(static_cast<std::size_t>(setup_.instances)),
      former_(limits_of(setup_)),
      delay_(setup_.batching.queue_delay_target_microseconds * 1000,
             setup_.batching.queue_delay_interval_microseconds * 1000) {
  reset_run_times();
  // Hot-path containers get their room now, so that no push on a worker can run out of memory.
  former_.reserve(limit_);
  for (Instance& instance : instances_) {
    instance.control = session_.make_run_control();
    instance.watch.use(*instance.control);
    instance.batch.reserve(limit_);
    instance.dead.reserve(limit_);
    instance.signals.reserve(limit_);
    instance.askers.reserve(limit_);
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

bool Batcher::run_here(Request& request, DeadlineTimer* timer) noexcept {
  if (!gate_.try_enter_idle()) return false;
  Request* const only = &request;
  run_at_once({&only, 1}, timer);
  return true;
}

bool Batcher::run_here(std::span<Request* const> requests, DeadlineTimer* timer) noexcept {
  if (!is_short(requests) || !gate_.try_enter_idle()) return false;
  run_at_once(requests, timer);
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
  if (requests.size() > 1 && rows > row_limit_.now()) return false;
  const Nanos predicted = cost_.of(requests.front()->cost_class).predict(rows);
  return predicted != 0 && predicted < limit;
}

// REQUIRES: an instance has been taken from the gate.
void Batcher::run_at_once(std::span<Request* const> requests, DeadlineTimer* timer) noexcept {
  counters_->accepted(requests.size());
  counters_->in_place();
  counters_->dispatched(Dispatch::kIdle);
  Stop stop = Stop::kNo;  // who else could end them is the thread that runs them
  for (Request* request : requests) {
    began(*request);
    if (timer == nullptr || request->deadline == kNever) continue;
    timer->watch(*request);
    stop = Stop::kWhenDead;
  }
  const std::size_t slot = slots_.take();
  Instance& instance = instances_[slot];
  instance.left_others = false;
  instance.in_place = true;
  run(instance, requests, stop);
  if (stop != Stop::kNo) {
    // Whoever ended one at its deadline, and so the run, may not have written its outcome yet: a few instructions.
    for (Request* request : requests) {
      while (!request->ended()) static_cast<void>(request->wait(kNever));
    }
  }
  signal_all(instance);
  if (give_back(slot).waiting() > 0) wake_.notify(1);
}

std::size_t Batcher::enqueue(std::span<Request*> requests) noexcept {
  const auto joins = [this](Request* request) { return door_.join(*request); };
  const auto unfit = std::ranges::stable_partition(requests, joins).begin();  // as a rule there is none
  const auto fit = static_cast<std::uint32_t>(unfit - requests.begin());
  const std::uint32_t booked = book(requests.first(fit));
  if (booked < fit) {
    refuse(requests.subspan(booked, fit - booked));
    counters_->refused(requests[booked]->status.code, fit - booked);
  }
  if (fit < requests.size()) counters_->refused(ErrorCode::kOverloaded, requests.size() - fit);
  return booked;
}

// Queues as many as there is room for.
std::uint32_t Batcher::book(std::span<Request*> requests) noexcept {
  Gate::View seen(0);
  const std::uint32_t booked = gate_.book(static_cast<std::uint32_t>(requests.size()), limit_, seen);
  std::uint64_t fresh = 0;
  for (std::uint32_t i = 0; i < booked; ++i) fresh += requests[i]->batcher == nullptr ? 1U : 0U;
  if (fresh > 0) counters_->accepted(fresh);
  if (booked > 0) counters_->queued(booked);
  for (std::uint32_t i = 0; i < booked; ++i) {
    Request* const request = requests[i];
    began(*request);
    request->retain();
    // A booked place is a free cell, but its last reader may be between reading it and handing it on.
    while (!intake_.try_push(request)) std::this_thread::yield();
  }
  if (booked > 0 && wake_.announce()) {
    const Gate::View now = gate_.view();
    const std::uint32_t able = now.free() + (now.lingering() ? 1U : 0U);
    if (able > 0) wake_.wake(static_cast<int>(std::min(able, booked)));
  }
  return booked;
}

void Batcher::accept(Request& request) noexcept {
  counters_->accepted(1);
  request.batcher = this;
}

bool Batcher::requeue(Request& request) noexcept {
  if (!door_.join(request)) return false;
  Request* only = &request;
  if (book({&only, 1}) == 1) return true;
  refuse({&only, 1});
  return false;
}

void Batcher::answer(Request& request, std::shared_ptr<const CachedAnswer> answer, Nanos stale_age) noexcept {
  accept(request);
  static_cast<void>(request.claim());  // nobody else knows it yet
  request.by_other = true;
  request.answer = std::move(answer);
  request.stale_age = stale_age;
  static_cast<void>(settle(request, Status{}, 0, clock_.now(), 0));
}

Status Batcher::check(const Request& request) const noexcept {
  const Gate::View now = gate_.view();
  if (now.closed() || now.waiting() >= limit_) return no_place(door_.policies().level_of(request.priority), now);
  return door_.check(request, now.waiting());
}

Status Batcher::no_place(int level, Gate::View now) const noexcept {
  if (now.closed()) return Status::failure(ErrorCode::kUnavailable, Reason::kClosed);
  const std::uint32_t waiting = std::max(now.waiting(), limit_);
  Status status = Status::failure(ErrorCode::kOverloaded, Reason::kQueueFull, waiting, limit_);
  status.predicted = door_.predicted_wait(level, waiting);
  return status;
}

// What has joined and found no place.
void Batcher::refuse(std::span<Request* const> requests) noexcept {
  const Gate::View now = gate_.view();
  for (Request* request : requests) {
    door_.leave(*request);
    request->status = no_place(request->level, now);
  }
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
    instance.in_place = false;
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
  bool lingered = false;
  for (;;) {
    EventCount::Key key = 0;
    if (may_linger) key = wake_.prepare_wait();  // company that comes while we decide must not be missed
    Nanos again = kNever;
    std::size_t left = 0;
    {
      MutexLock lock(scheduling_);
      drain_intake();
      former_.set_max_rows(row_limit_.now());
      BatchFormer::Instances instances;
      instances.count = static_cast<std::uint32_t>(setup_.instances);
      instances.idle = gate_.view().free() + 1;
      instances.running_rows = running_rows_.load(std::memory_order_relaxed);
      instances.cost = &cost_;
      instances.per_run = kPerRun;
      instances.hop = kHop;
      instances.turn = batches_;
      instances.freed = freed;
      const Nanos now = clock_.now();
      again = former_.poll(now, instances, instance.batch, instance.dead);
      running_rows_.fetch_add(rows_of(instance.batch), std::memory_order_relaxed);
      left = former_.size();
      if (!instance.batch.empty()) {
        ++batches_;
        const Dispatch why = former_.dispatch();
        counters_->dispatched(why == Dispatch::kIdle && lingered ? Dispatch::kDelay : why);
        watch_delay(instance.batch, left, now);
      }
    }
    instance.left_others = left > 0;
    for (const Request* request : instance.batch) door_.leave(*request);
    for (const Request* request : instance.dead) door_.leave(*request);
    const bool linger = instance.batch.empty() && instance.dead.empty() && again != kNever;
    if (may_linger && !linger) wake_.cancel_wait();
    if (!instance.batch.empty()) {
      gate_.leave(static_cast<std::uint32_t>(instance.batch.size()));
      counters_->left_queue(instance.batch.size());
      if (left > 0 && gate_.view().free() > 0) wake_.notify(1);
      drop_dead(instance);
      return true;
    }
    if (!instance.dead.empty()) {
      drop_dead(instance);
      continue;
    }
    if (!linger) return false;
    lingered = true;
    gate_.set_lingering();
    wake_.wait(key, again);
    gate_.clear_lingering();
  }
}

void Batcher::watch_delay(std::span<Request* const> batch, std::size_t left, Nanos now) noexcept {
  if (delay_.target() <= 0) return;
  if (left == 0) {
    delay_.idle();
  } else {
    delay_.observe(now, former_.least_wait(now, batch));
  }
  door_.set_overloaded(delay_.overloaded());
}

Status Batcher::why_dropped(const Request& request, Nanos now) noexcept {
  constexpr ErrorCode kCode = ErrorCode::kDeadlineExceeded;
  if (request.predicted_run > 0) {
    return Status::failure(kCode, Reason::kCannotSuffice, request.predicted_run,
                           std::max<Nanos>(0, request.deadline - now));
  }
  if (request.deadline > now && request.leave_at <= now) {
    return Status::failure(kCode, Reason::kQueueTimeout, now - request.accepted_at,
                           request.leave_at - request.accepted_at);
  }
  return Status::failure(kCode, Reason::kExpiredInQueue, request.timeout);
}

void Batcher::drop_dead(Instance& instance) noexcept {
  if (instance.dead.empty()) return;
  const Nanos now = clock_.now();
  for (Request* request : instance.dead) {
    finish(instance, *request, why_dropped(*request, now), 0, now, 0);
    request->release();
  }
  gate_.leave(static_cast<std::uint32_t>(instance.dead.size()));
  counters_->left_queue(instance.dead.size());
  instance.dead.clear();
  signal_all(instance);
}

bool Batcher::drain(Nanos until) noexcept {
  gate_.close();
  for (;;) {
    const EventCount::Key key = drained_.prepare_wait();
    const Gate::View now = gate_.view();
    const bool is_drained = now.waiting() == 0 && now.free() == static_cast<std::uint32_t>(setup_.instances);
    if (is_drained || clock_.now() >= until) {
      drained_.cancel_wait();
      return is_drained;
    }
    wake_.notify_all();
    drained_.wait(key, until);
  }
}

void Batcher::close() noexcept {
  MutexLock lock(closing_);
  static_cast<void>(drain(kNever));
  // Whoever decided an outcome a moment ago may still be about to count it: a few instructions.
  while (counters_->in_flight() != 0) std::this_thread::yield();
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
  door_.forget();
}

void Batcher::read(ModelStats& stats) const {
  counters_->read(stats);
  stats.run_times = cost_.read();
  stats.row_limit = static_cast<std::uint64_t>(row_limit_.now());
  stats.failed = standing().failed();
  stats.circuit = standing().circuit(clock_.now());
  stats.queue_depth = stats.instances_busy = 0;
  add_gauges(stats);
}

void Batcher::add_gauges(ModelStats& stats) const {
  const Gate::View now = gate_.view();
  const auto instances = static_cast<std::uint64_t>(setup_.instances);
  stats.queue_depth += now.waiting();
  stats.max_queue_size += limit_;
  stats.instances += instances;
  stats.instances_busy += instances - std::min<std::uint64_t>(instances, now.free());
  const Nanos since = clock_.now() - kStuck;
  for (const Instance& instance : instances_) {
    const Nanos stopped_at = instance.watch.stopped_at();
    if (stopped_at != 0 && stopped_at < since) ++stats.stuck_runs;
  }
}

}  // namespace anya
