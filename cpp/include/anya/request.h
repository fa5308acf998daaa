// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "anya/cache.h"
#include "anya/clock.h"
#include "anya/session.h"
#include "anya/stats.h"
#include "anya/status.h"
#include "anya/tensor.h"
#include "anya/trace_events.h"

namespace anya {

class Batcher;
class CompletionQueue;
class Flight;
class Request;
class RolloutTally;

// Told of every outcome before it is published, by whoever decided it; may make a better one of it. Thread-safe; must
// not block.
class OutcomeWatcher {
 public:
  virtual ~OutcomeWatcher() = default;
  virtual void decided(Request& request) noexcept = 0;
};

// Who made a request and gets its memory back. Thread-safe: reclaim may be called by any thread and must not block.
class RequestOwner {
 public:
  virtual ~RequestOwner() = default;
  virtual void reclaim(Request* request) noexcept = 0;
};

// One question and its answer, from admission to its one outcome.
//
// Life: the submitter fills the first group and hands the request to a model. Whoever wins claim() decides the outcome
//   (the run, the deadline, a cancellation), fills `status` and calls publish(); everybody else drops what it has. The
//   memory behind inputs and outputs belongs to the request (its owner keeps it alive) until the last reference is
//   gone, so a run that goes on after its caller has left never writes into freed memory.
// References: one for the submitter, one for the engine while it is queued or running, one for the deadline timer while
//   it watches, one for a completion queue from the moment it is asked to notify. The last one to leave calls reclaim.
// Thread-safe: claim, publish, wait, ended, notify_through, retain, release. The rest belongs to the submitter before
//   submission, to the engine until the outcome, and to the submitter again after it.
class Request {
 public:
  explicit Request(RequestOwner& owner) : owner_(owner) {}
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  virtual ~Request() = default;

  // ---- Filled by the submitter, constant from submission on.
  std::vector<TensorView> inputs;             // in schema order
  std::vector<std::uint32_t> output_indices;  // which outputs, in the order wanted
  std::vector<OutputBuffer> outputs;          // one per index; data == null: made by the run
  std::uint64_t id = 0;
  std::uint64_t key_hash = 0;  // of the routing key; 0: none
  std::string tenant;
  int priority = 0;                     // 1 is the highest; 0: not given, counts as 128
  Nanos deadline = kNever;              // on the engine's clock
  Nanos timeout = kNever;               // what `deadline` was made from, for the message
  RolloutTally* tally = nullptr;        // counts the outcome while a rollout is judged; alive as long as the request
  std::uint8_t tally_arm = 0;           // RolloutTally::Arm
  Role role = Role::kStable;            // what the version is to this request
  TraceEvents* trace_events = nullptr;  // where its end is told; null: nobody traces it. Alive as long as the request
  TraceContext trace;
  std::uint32_t trace_model = 0;  // TraceEvents::number_of

  // ---- Filled by the model at admission.
  Batcher* batcher = nullptr;    // alive as long as the request has not ended
  std::int64_t rows = 0;         // 0: the model takes shapes as they are
  std::uint64_t signature = 0;   // equal for requests that may share a run
  std::uint16_t cost_class = 0;  // equal for requests whose rows cost about the same (CostModel)
  Nanos accepted_at = 0;

  // ---- Filled by the model where it has a response cache.
  CacheQuestion cache_question;
  bool only_fresh = false;              // no stale answer is taken, whatever fails
  OutcomeWatcher* watcher = nullptr;    // alive as long as the batcher
  std::shared_ptr<const CacheKey> key;  // the memory that the run reads its inputs from, until the request is reset
  std::shared_ptr<Flight> flight;       // that it runs for; see Flights, whose lock guards it once others can find it

  // ---- Filled when it is queued (QueuePolicies::apply, BatchFormer::add).
  std::uint8_t level = 0;         // its priority, as the model counts
  std::uint16_t breaker_tag = 0;  // Breaker::Tag; 0: the model has none
  Nanos leave_at = kNever;        // when its time in the queue is over; the deadline is apart
  Nanos order = 0;                // who is due sooner goes first in its level
  std::uint64_t ticket = 0;       // then who came first
  Nanos predicted_run = 0;        // dropped for want of time: what its run was predicted to take; 0: expired

  // ---- The outcome: written by the winner of claim() before publish(), or by an enqueue that refuses the request.
  Status status;
  Nanos started_at = 0;  // 0: never ran
  Nanos ended_at = 0;
  std::int64_t batch_rows = 0;
  bool by_other = false;                       // answered, or to be answered, by another run than its own
  std::shared_ptr<const CachedAnswer> answer;  // the outputs, where they are not in `outputs`
  Nanos stale_age = -1;                        // of that answer, beyond its time to live; -1: fresh

  // ---- Links; each belongs to the container that names it.
  Request* next_completed = nullptr;  // CompletionQueue, or the owner's reclaim list afterwards
  Request* next_waiting = nullptr;    // WaitingLine, or Flights while it waits for another one's run
  Request* first_later = nullptr;     // WaitingLine
  Request* next_watched = nullptr;    // DeadlineTimer
  Nanos watched_until = kNever;       // DeadlineTimer

  // True for exactly one caller in the life of the request.
  // In one order with the instance: either who starts the run sees the claim, or who claims sees the run (BatchWatch).
  [[nodiscard]] bool claim() noexcept { return !claimed_.exchange(true, std::memory_order_seq_cst); }
  [[nodiscard]] bool is_claimed() const noexcept { return claimed_.load(std::memory_order_seq_cst); }
  // The number of the instance that has taken it to run; kNotRunning: it has not been taken yet.
  static constexpr std::int32_t kNotRunning = -1;
  void set_running_on(std::int32_t instance) noexcept { running_on_.store(instance, std::memory_order_seq_cst); }
  [[nodiscard]] std::int32_t running_on() const noexcept { return running_on_.load(std::memory_order_seq_cst); }
  // Makes the outcome visible and wakes who waits. Returns the completion queue that must be signalled once the caller
  // has published everything it has, or null. REQUIRES: the caller won claim() and holds a reference.
  [[nodiscard]] CompletionQueue* publish() noexcept;

  [[nodiscard]] bool ended() const noexcept {
    return (state_.load(std::memory_order_acquire) & kEnded) != 0;  // pairs with publish's release
  }
  enum class Wait : std::uint8_t { kEnded, kTimedOut, kInterrupted };
  // Blocks until the outcome, until `until` (steady clock), or until a signal handler ran on this thread.
  Wait wait(Nanos until) noexcept;
  // From now on the outcome is pushed to `queue` (which gets a reference). False: it has ended already, nothing is
  // pushed. REQUIRES: called at most once.
  [[nodiscard]] bool notify_through(CompletionQueue& queue) noexcept;
  // The same for an outcome that is not ok; notify_through may come later, with the same queue, and counts for both.
  // REQUIRES: called before submission.
  void notify_failure_through(CompletionQueue& queue) noexcept;

  void retain() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }  // a holder copies its own reference
  // Gives a reference back; true: it was the last, and the request is the caller's to reuse.
  [[nodiscard]] bool drop() noexcept {
    // Acquire and release: the last holder sees what every other one did before it left.
    return references_.fetch_sub(1, std::memory_order_acq_rel) == 1;
  }
  void release() noexcept {
    if (drop()) owner_.reclaim(this);
  }
  // Makes a reclaimed request fresh again, with one reference. Keeps the vectors' memory.
  void reset() noexcept;

 private:
  static constexpr std::uint32_t kEnded = 1;
  static constexpr std::uint32_t kWaiting = 2;
  static constexpr std::uint32_t kNotify = 4;
  static constexpr std::uint32_t kNotifyFailure = 8;

  RequestOwner& owner_;
  CompletionQueue* queue_ = nullptr;  // set before kNotify, read after it
  std::atomic<std::uint32_t> state_{0};
  std::atomic<std::uint32_t> references_{1};
  std::atomic<std::int32_t> running_on_{kNotRunning};
  std::atomic<bool> claimed_{false};
};

}  // namespace anya
