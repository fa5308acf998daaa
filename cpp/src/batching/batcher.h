// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "anya/clock.h"
#include "anya/options.h"
#include "anya/request.h"
#include "anya/session.h"
#include "anya/stats.h"
#include "base/mutex.h"
#include "batching/batch.h"
#include "batching/batch_former.h"
#include "batching/cost_model.h"
#include "batching/deadline_timer.h"
#include "batching/gate.h"
#include "batching/queue_delay.h"
#include "batching/queue_door.h"
#include "batching/row_limit.h"
#include "batching/run_observer.h"
#include "batching/slot_set.h"
#include "batching/standing.h"
#include "stats/drift_monitor.h"
#include "stats/model_counters.h"
#include "sync/event_count.h"
#include "sync/mpmc_queue.h"

namespace anya {

// Requests in, runs out: the queue, the instances and the threads of one model. Does not know ONNX Runtime's types,
// other models or Python.
//
// Producers push into a lock-free queue. A thread that holds an instance, a worker or a caller that found one idle,
// owns the scheduling while it drains that queue into the BatchFormer and forms a batch (the one lock, shared by
// instance holders only), then runs it with no lock held. Thread-safe. Only close() blocks for long; run_here blocks
// for the run. Callers of run_here and enqueue keep the batcher alive across the call.
class Batcher {
 public:
  struct Setup {
    BatchingOptions batching;
    bool batchable = false;
    std::vector<bool> predictable;                          // per output of the schema
    int instances = 1;                                      // 1 .. SlotSet::kMax
    std::string name;                                       // for thread names
    bool one_shape = true;                                  // beyond the rows
    std::vector<std::pair<std::int64_t, Nanos>> run_times;  // rows and duration, measured beforehand, of one shape
    std::shared_ptr<Standing> standing = {};                // shared by the batchers of a version; null: it is alone
    std::shared_ptr<ModelCounters> counters = {};           // null: of its own
    std::shared_ptr<const RunObserver> observer = {};       // null: nobody looks
  };
  // `session` and `clock` outlive the batcher. Throws Error(kUnavailable) when threads cannot be had.
  Batcher(Session& session, const Clock& clock, Setup setup);
  ~Batcher();  // REQUIRES: close() has returned
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // If an instance is idle and nobody waits: runs the request to its end on this thread and returns true.
  // Otherwise nothing has happened and it returns false. REQUIRES: admission is done (rows, signature, accepted_at).
  // `timer`: ends the request at its deadline, if it has one, and so stops the run between two operators.
  bool run_here(Request& request, DeadlineTimer* timer = nullptr) noexcept;
  // The same for a whole batch that may share a run, if it is known to be short (max_in_place_microseconds).
  bool run_here(std::span<Request* const> requests, DeadlineTimer* timer = nullptr) noexcept;
  // Whether an admitted request makes sense to queue, before its data is touched: nothing is counted yet, and a place
  // may be gone by the time it is asked for.
  [[nodiscard]] Status check(const Request& request) const noexcept;
  // Nobody waits: check would refuse nobody.
  [[nodiscard]] bool lets_all_in() const noexcept {
    const Gate::View now = gate_.view();
    return now.waiting() == 0 && !now.closed();
  }
  [[nodiscard]] const Setup& setup() const noexcept { return setup_; }
  // How its version stands; who may not come in is for the caller to ask, before `run_here` or `enqueue`.
  [[nodiscard]] Standing& standing() const noexcept { return *setup_.standing; }
  [[nodiscard]] const QueuePolicies& policies() const noexcept { return door_.policies(); }
  // Queues as many as fit, moves those to the front, and returns how many; the engine takes a reference of each of
  // them. The others are refused and counted, and their status says why.
  std::size_t enqueue(std::span<Request*> requests) noexcept;

  // Accepts a request that waits for another one's run; it ends by `conclude`, or comes into the queue by `requeue`.
  void accept(Request& request) noexcept;
  // Queues a request of the engine's own, or one that was accepted before; takes a reference. False: there is no
  // place, which is counted nowhere; its status says why.
  bool requeue(Request& request) noexcept;
  // Accepts a request and ends it well at once, with an answer that is here.
  void answer(Request& request, std::shared_ptr<const CachedAnswer> answer, Nanos stale_age) noexcept;
  // Ends the request well, as `conclude` does, with the answer of another one's run.
  static bool conclude(Request& request, std::shared_ptr<const CachedAnswer> answer, Nanos ended_at) noexcept;

  // Ends the request with `status` unless it has ended or is just ending; true if this call decided it. Its run, if
  // there is one, is stopped when nobody else in it is alive; else it goes on and this answer is dropped. Does not
  // block.
  static bool conclude(Request& request, Status status, Nanos ended_at) noexcept;

  // Refuses what comes from now on, and blocks until all that was accepted has ended and the threads have stopped.
  void close() noexcept;
  // Refuses what comes from now on, and blocks until all that was accepted has ended, or until then. True: it has.
  [[nodiscard]] bool drain(Nanos until) noexcept;

  // It has begun: what comes now is refused.
  [[nodiscard]] bool closed() const noexcept { return gate_.view().closed(); }

  // Forgets what runs were learned to take; back to what was measured beforehand.
  void reset_run_times() noexcept;

  // From the next run on what is asked and answered is counted here, which lives as long as the batcher; null: nowhere.
  // REQUIRES: it has a shard for each instance.
  void watch_drift(DriftMonitor* monitor) noexcept {
    drift_.store(monitor, std::memory_order_release);  // pairs with run's acquire: who sees it sees what it was made of
  }

  // Fills the gauges and counters of this model; or adds its gauges alone, and nothing of run times.
  void read(ModelStats& stats) const;
  void add_gauges(ModelStats& stats) const;
  [[nodiscard]] std::uint32_t waiting() const noexcept { return gate_.view().waiting(); }
  void count_refusal(ErrorCode code) noexcept { counters_->refused(code); }
  // An upper estimate of a lone run's duration, learned from runs; 0: nothing learned yet.
  [[nodiscard]] Nanos slow_run() const noexcept { return slow_run_.load(std::memory_order_relaxed); }
  // What a run of one row is expected to take; 0: nobody knows.
  [[nodiscard]] Nanos expected_run() const noexcept { return cost_.of(0).predict(1); }
  [[nodiscard]] std::uint64_t succeeded() const noexcept { return counters_->succeeded(); }

 private:
  void work() noexcept;
  bool next_batch(Instance& instance, bool freed) noexcept;
  void run_batch(Instance& instance) noexcept;
  enum class Stop : std::uint8_t { kNo, kWhenDead };
  void run(Instance& instance, std::span<Request* const> requests, Stop stop) noexcept;
  [[nodiscard]] std::size_t number_of(const Instance& instance) const noexcept {
    return static_cast<std::size_t>(&instance - instances_.data());
  }
  void keep_for_drift(DriftMonitor& monitor, Instance& instance, const Request& request, Nanos compute) noexcept;
  void look_for_drift(DriftMonitor& monitor, Instance& instance, std::span<Request* const> requests,
                      Nanos compute) noexcept;
  std::uint32_t book(std::span<Request*> requests) noexcept;
  void refuse(std::span<Request* const> requests) noexcept;
  [[nodiscard]] Status no_place(int level, Gate::View now) const noexcept;
  void began(Request& request) noexcept {
    request.batcher = this;
    if (Breaker* const breaker = standing().breaker()) request.breaker_tag = breaker->began();
  }
  void judge(const Request& request, ErrorCode code) const noexcept;
  [[nodiscard]] Status injected(const Faults& faults, const Instance& instance,
                                std::span<Request* const> requests) const noexcept;
  [[nodiscard]] Status run_session(Instance& instance, std::span<Request* const> requests) noexcept;
  [[nodiscard]] static Status why_dropped(const Request& request, Nanos now) noexcept;
  void drop_dead(Instance& instance) noexcept;
  void drain_intake() REQUIRES_LOCK(scheduling_);
  void watch_delay(std::span<Request* const> batch, std::size_t left, Nanos now) noexcept REQUIRES_LOCK(scheduling_);
  static void trace(const Request& request) noexcept;
  static void tally(const Request& request, ErrorCode code) noexcept;
  Gate::View give_back(std::size_t slot) noexcept;
  [[nodiscard]] bool is_short(std::span<Request* const> requests) const noexcept;
  void run_at_once(std::span<Request* const> requests, DeadlineTimer* timer) noexcept;
  void learn(Nanos duration) noexcept;
  static CompletionQueue* settle(Request& request, Status status, Nanos started_at, Nanos ended_at,
                                 std::int64_t rows) noexcept;
  void finish(Instance& instance, Request& request, const Status& status, Nanos started_at, Nanos ended_at,
              std::int64_t rows) noexcept;
  static void signal_all(Instance& instance) noexcept;

  // Constant after construction.
  Session& session_;
  const Clock& clock_;
  const Setup setup_;
  const std::uint32_t limit_;

  // These provide their own synchronization.
  Gate gate_;
  SlotSet slots_;
  MpmcQueue<Request*> intake_;
  EventCount wake_;
  EventCount drained_;
  const std::shared_ptr<ModelCounters> counters_;
  std::atomic<std::int64_t> running_rows_{0};  // in the workers' runs; a hint for sharing, so relaxed
  std::atomic<Nanos> slow_run_{0};
  CostModel cost_;
  QueueDoor door_;
  std::atomic<bool> stopping_{false};
  std::atomic<DriftMonitor*> drift_{nullptr};
  RowLimit row_limit_;

  // Each owned by the thread that holds the instance.
  std::vector<Instance> instances_;

  Mutex closing_;  // one closer at a time
  Mutex scheduling_;
  BatchFormer former_ GUARDED_BY(scheduling_);
  std::uint64_t batches_ GUARDED_BY(scheduling_) = 0;
  QueueDelay delay_ GUARDED_BY(scheduling_);

  // Last member: joined before anything above it is destroyed.
  std::vector<std::jthread> workers_;
};

}  // namespace anya
