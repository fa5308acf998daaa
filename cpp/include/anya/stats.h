// SPDX-License-Identifier: Apache-2.0
//
// What the engine counts, as plain data: one consistent snapshot.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anya/status.h"

namespace anya {

// Upper edges of the duration buckets in seconds: 100 us to 10 s in steps of 1, 2.5, 5 (16 edges), then +Inf.
inline constexpr std::array<double, 16> kDurationEdges = {1e-4, 2.5e-4, 5e-4,   1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2,
                                                          5e-2, 1e-1,   2.5e-1, 5e-1, 1.0,    2.5,  5.0,  10.0};
// Upper edges of the batch size buckets in rows: powers of 2, then +Inf.
inline constexpr std::array<double, 14> kBatchEdges = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};

// Upper edges of what lies between 0 and 1 (confidence, margin, entropy): steps of .05; then +Inf, where nothing falls.
inline constexpr std::array<double, 20> kShareEdges = {0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5,
                                                       0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0};

// What a version was to a request: in a rollout's slices, or for a copy; stable for everything else, a request that
// names its version included.
enum class Role : std::uint8_t { kStable, kCanary, kControl, kShadow };
inline constexpr std::size_t kRoleCount = 4;
std::string_view role_name(Role role) noexcept;  // "stable" and so on

// Why a batch left when it did.
enum class Dispatch : std::uint8_t {
  kIdle,      // an instance was idle; all that could share the run are in it
  kFull,      // as large as it may be, or as pays; others stayed behind
  kDeadline,  // cut short, so that its first request is in time
  kDelay,     // max_queue_delay_microseconds ran out
};
inline constexpr std::size_t kDispatchCount = 4;
std::string_view dispatch_name(Dispatch dispatch) noexcept;  // "idle" and so on

// An observation with the trace it belongs to.
struct Exemplar {
  std::size_t bucket = 0;
  std::string trace_id;  // 32 hex digits
  double value = 0;
};

struct HistogramSnapshot {
  std::vector<double> edges;          // upper bounds, without +Inf
  std::vector<std::uint64_t> counts;  // per bucket, not cumulative; one more than edges
  double sum = 0;
  std::vector<Exemplar> exemplars = {};  // at most one of each bucket, a recent one
};

// What runs of a model take, as far as the engine knows: measured at load, then learned from the runs themselves.
struct RunTime {
  std::int64_t rows = 0;       // this many, or fewer but more than half
  std::int64_t row_bytes = 0;  // input bytes of a row, this many or up to a quarter more; 0: the model has one shape
  double seconds = 0;          // of a run
  double seconds_per_row = 0;
  std::uint64_t observations = 0;
};

// What the rules of one input or output have met; those without a rule are not looked at.
struct TensorCount {
  std::string name;
  std::uint64_t sanitized = 0;  // values that were clipped, replaced or normalised
  std::uint64_t nonfinite = 0;  // NaN and infinities seen: each one changed or let through, and one of each refusal
};

enum class CircuitState : std::uint8_t { kClosed = 0, kHalfOpen = 1, kOpen = 2 };

// One change of a circuit breaker.
struct CircuitEvent {
  std::uint64_t number = 0;  // from 1, in order
  CircuitState to = CircuitState::kClosed;
  std::int64_t at = 0;      // nanoseconds of the engine's clock
  std::uint32_t calls = 0;  // what it was decided by: calls looked at, failed ones, slow ones; 0: time alone
  std::uint32_t failed = 0;
  std::uint32_t slow = 0;
};

// What a circuit breaker knows now.
struct CircuitStats {
  CircuitState state = CircuitState::kClosed;
  std::uint32_t calls = 0;  // in the window, since the last change
  std::uint32_t failed = 0;
  std::uint32_t slow = 0;
  std::int64_t opens_in = 0;         // nanoseconds until an open one lets probes through
  std::vector<CircuitEvent> events;  // the last ones, oldest first
};

// Upper edges of the age of answers given from the cache, in seconds; then +Inf.
inline constexpr std::array<double, 8> kAgeEdges = {0.1, 1, 10, 60, 600, 3600, 21600, 86400};

// Counters of a response cache. hits + stale + coalesced are the requests that needed no run of their own.
struct CacheStats {
  std::uint64_t capacity_bytes = 0;  // 0: there is no cache
  std::uint64_t bytes = 0;           // in use, all overheads counted
  std::uint64_t fixed_bytes = 0;     // of them, what an empty cache takes
  std::uint64_t entries = 0;
  std::uint64_t hits = 0;            // answered, fresh
  std::uint64_t stale = 0;           // answered at once within stale_while_revalidate
  std::uint64_t stale_on_error = 0;  // answered within stale_if_error, in place of an error
  std::uint64_t misses = 0;          // collisions included
  std::uint64_t coalesced = 0;       // misses that were answered by another request's run
  std::uint64_t collisions = 0;      // questions that met another one of the same index
  std::uint64_t insertions = 0;
  std::uint64_t oversized = 0;  // answers larger than the whole cache
  std::uint64_t evicted_capacity = 0;
  std::uint64_t evicted_ttl = 0;
  std::uint64_t evicted_invalidate = 0;  // clear, or the end of the model
  HistogramSnapshot age;                 // seconds since they were made, of answers given
};

// Counters of one loaded model. Rule: `accepted` is the sum of `ended` and `in_flight`, whatever happens; at rest
// in_flight is zero. Warm-up is in none of them. Requests refused at the door are not accepted.
struct ModelStats {
  std::string name;
  std::string version;
  std::uint64_t accepted = 0;
  std::array<std::uint64_t, kErrorCodeCount> ended{};    // by outcome; index kOk is success
  std::array<std::uint64_t, kErrorCodeCount> refused{};  // at the door, by error
  std::array<std::array<std::uint64_t, kErrorCodeCount>, kRoleCount> ended_by_role{};  // the same, taken apart
  std::uint64_t in_flight = 0;
  std::uint64_t queue_depth = 0;     // waiting now
  std::uint64_t max_queue_size = 0;  // that may wait
  std::uint64_t memory_bytes = 0;    // of the model's files
  std::uint64_t instances = 0;
  std::uint64_t instances_busy = 0;
  std::uint64_t batches = 0;                               // runs, a run of one request included
  std::uint64_t rows = 0;                                  // rows in those runs
  std::array<std::uint64_t, kDispatchCount> dispatches{};  // batches by why they left; halves of a split one are none
  std::uint64_t in_place = 0;           // runs on the thread of who asked, an event loop's batches included
  std::uint64_t splits = 0;             // batches run again in halves because a run failed
  std::uint64_t terminated_runs = 0;    // runs stopped because nobody waited for them any more
  std::uint64_t stuck_runs = 0;         // now: runs that were told to stop more than a second ago and have not
  std::uint64_t row_limit = 0;          // now: rows that a run may have; less than max_batch_size after memory ran out
  bool failed = false;                  // its device is lost: every request is refused
  std::optional<CircuitStats> circuit;  // None: it has no breaker
  HistogramSnapshot request_duration;   // seconds from acceptance to the outcome
  HistogramSnapshot queue_duration;     // seconds from acceptance to the start of the run
  HistogramSnapshot compute_duration;   // seconds of the run, observed once per request in it
  HistogramSnapshot batch_size;         // rows per run
  std::vector<RunTime> run_times;       // by row_bytes, then rows
  // Of a classifier that PredictionOptions name an output of: one observation for each thing it was asked about.
  HistogramSnapshot confidence;                                    // the largest probability; no edges: nobody looks
  HistogramSnapshot margin;                                        // how far it is above the next one
  HistogramSnapshot entropy;                                       // of the distribution, from 0 to 1
  std::vector<std::pair<std::string, std::uint64_t>> predictions;  // by class, "other" and "invalid" last
  CacheStats cache;                                                // all zero: there is none
  std::vector<TensorCount> tensors;  // inputs, then outputs, in schema order; those that have rules for values
};

// What counters in somebody's memory (CounterMemory, ModelOptions) say: the counting fields, with queue depth and busy
// instances by the counts. `classes` null: predictions are not looked at. Throws Error(kConfigError): it is too small.
ModelStats stats_in(std::span<const std::byte> memory, const std::vector<std::string>* classes);

// Adds a histogram of the same edges; one without edges is of nothing. Exemplars of both stay.
void add(HistogramSnapshot& sum, const HistogramSnapshot& more);

// Adds the counts and gauges of `more` to those of `sum`; name, version, run_times and tensors stay as they are.
void add(ModelStats& sum, const ModelStats& more);

}  // namespace anya
