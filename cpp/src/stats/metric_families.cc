// SPDX-License-Identifier: Apache-2.0
//
// The table of metrics: names, meanings, and where each number comes from.
#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "anya/metrics.h"

namespace anya {
namespace {

using Labels = std::vector<std::string>;

// What a request can end with or be refused with; those that have not happened yet show as 0.
constexpr std::array kErrorTypes = {
    ErrorCode::kInvalidInput,     ErrorCode::kInputTooLarge,      ErrorCode::kOverloaded,
    ErrorCode::kDeadlineExceeded, ErrorCode::kCancelled,          ErrorCode::kUnavailable,
    ErrorCode::kExecutionError,   ErrorCode::kModelOutputInvalid, ErrorCode::kOutOfMemory,
};
enum Outcome : std::size_t { kOk, kError, kTimeout, kShed, kCancelled };
constexpr std::array<const char*, 5> kOutcomes = {"ok", "error", "timeout", "shed", "cancelled"};

Outcome outcome_of(std::size_t code) {
  switch (static_cast<ErrorCode>(code)) {
    case ErrorCode::kOk:
      return kOk;
    case ErrorCode::kDeadlineExceeded:
      return kTimeout;
    case ErrorCode::kOverloaded:
      return kShed;
    case ErrorCode::kCancelled:
      return Outcome::kCancelled;
    default:
      return kError;
  }
}

// One model's labels, and room for more behind them.
struct Version {
  const ModelStats& stats;
  [[nodiscard]] Labels labels() const { return {stats.name, stats.version}; }
  [[nodiscard]] Labels labels(std::string_view third) const { return {stats.name, stats.version, std::string(third)}; }
};

constexpr const char* kRequestDuration = "From acceptance to the outcome.";

using Fill = void (*)(MetricFamily& family, const Version& version);
struct Row {
  const char* name;
  MetricKind kind;
  const char* help;
  std::vector<std::string> more_labels;  // behind model and version
  Fill fill;
  Merge merge = Merge::kSum;
};

void add(MetricFamily& family, Labels labels, std::uint64_t value) {
  family.samples.emplace_back(std::move(labels), static_cast<double>(value));
}

template <std::uint64_t ModelStats::* Field>
void plain(MetricFamily& family, const Version& version) {
  add(family, version.labels(), version.stats.*Field);
}

void exemplars(MetricFamily& family, const Version& version) {
  const HistogramSnapshot& all = version.stats.request_duration;
  if (all.exemplars.empty()) return;
  const HistogramSnapshot alone = {all.edges, std::vector<std::uint64_t>(all.counts.size()), 0.0, all.exemplars};
  family.histograms.emplace_back(version.labels(), alone);
}

template <HistogramSnapshot ModelStats::* Field>
void histogram(MetricFamily& family, const Version& version) {
  const HistogramSnapshot& all = version.stats.*Field;
  if (!all.edges.empty()) family.histograms.emplace_back(version.labels(), all);
}

void requests(MetricFamily& family, const Version& version) {
  for (std::size_t role = 0; role < kRoleCount; ++role) {
    std::array<std::uint64_t, kOutcomes.size()> counts{};
    std::uint64_t all = 0;
    for (std::size_t code = 0; code < kErrorCodeCount; ++code) {
      const std::uint64_t count = version.stats.ended_by_role[role][code];
      counts[outcome_of(code)] += count;
      all += count;
    }
    if (role > 0 && all == 0) continue;  // most versions never have another role
    const std::string name(role_name(static_cast<Role>(role)));
    for (std::size_t i = 0; i < counts.size(); ++i) {
      add(family, {version.stats.name, version.stats.version, kOutcomes[i], name}, counts[i]);
    }
  }
}

void errors(MetricFamily& family, const Version& version) {
  for (const ErrorCode code : kErrorTypes) {
    const auto at = static_cast<std::size_t>(code);
    add(family, version.labels(code_name(code)), version.stats.ended[at] + version.stats.refused[at]);
  }
}

void dispatches(MetricFamily& family, const Version& version) {
  for (std::size_t i = 0; i < kDispatchCount; ++i) {
    add(family, version.labels(dispatch_name(static_cast<Dispatch>(i))), version.stats.dispatches[i]);
  }
}

void nonfinite(MetricFamily& family, const Version& version) {
  for (const TensorCount& tensor : version.stats.tensors) add(family, version.labels(tensor.name), tensor.nonfinite);
}

void sanitized(MetricFamily& family, const Version& version) {
  for (const TensorCount& tensor : version.stats.tensors) add(family, version.labels(tensor.name), tensor.sanitized);
}

void cache_requests(MetricFamily& family, const Version& version) {
  const CacheStats& cache = version.stats.cache;
  if (cache.capacity_bytes == 0) return;  // there is none, or another process has it
  // What was answered by an equal request's run, or in place of an error, had missed before: one result each.
  const std::uint64_t answered = cache.coalesced + cache.stale_on_error;
  add(family, version.labels("hit"), cache.hits);
  add(family, version.labels("miss"), cache.misses - std::min(cache.misses, answered));
  add(family, version.labels("stale"), cache.stale + cache.stale_on_error);
  add(family, version.labels("coalesced"), cache.coalesced);
}

void cache_bytes(MetricFamily& family, const Version& version) {
  if (version.stats.cache.capacity_bytes == 0) return;
  add(family, version.labels(), version.stats.cache.bytes);
}

void evictions(MetricFamily& family, const Version& version) {
  if (version.stats.cache.capacity_bytes == 0) return;
  add(family, version.labels("capacity"), version.stats.cache.evicted_capacity);
  add(family, version.labels("ttl"), version.stats.cache.evicted_ttl);
  add(family, version.labels("invalidate"), version.stats.cache.evicted_invalidate);
}

void circuit_state(MetricFamily& family, const Version& version) {
  if (!version.stats.circuit) return;
  switch (version.stats.circuit->state) {
    case CircuitState::kClosed:
      return add(family, version.labels(), 0);
    case CircuitState::kHalfOpen:
      return add(family, version.labels(), 1);
    case CircuitState::kOpen:
      return add(family, version.labels(), 2);
  }
}

void predictions(MetricFamily& family, const Version& version) {
  for (const auto& [name, count] : version.stats.predictions) add(family, version.labels(name), count);
}

// What the counters' memory holds.
std::vector<Row> table() {
  constexpr MetricKind kCounter = MetricKind::kCounter;
  constexpr MetricKind kGauge = MetricKind::kGauge;
  constexpr MetricKind kHistogram = MetricKind::kHistogram;
  using S = ModelStats;
  return {
      {"anya_requests",
       kCounter,
       "Accepted requests that have ended, by outcome and by what the version was to them.",
       {"outcome", "role"},
       requests},
      {"anya_request_errors", kCounter, "Requests that failed or were refused at the door, by code.", {"type"}, errors},
      {"anya_queue_depth", kGauge, "Requests waiting now.", {}, plain<&S::queue_depth>},
      {"anya_admission_limit", kGauge, "Requests that may wait; one more is refused.", {}, plain<&S::max_queue_size>},
      {"anya_inflight_requests", kGauge, "Requests accepted and not ended.", {}, plain<&S::in_flight>},
      {"anya_workers", kGauge, "Instances of the model.", {}, plain<&S::instances>},
      {"anya_workers_busy", kGauge, "Instances at work now.", {}, plain<&S::instances_busy>},
      {"anya_batches", kCounter, "Batches by why they left when they did.", {"reason"}, dispatches},
      {"anya_in_place_runs", kCounter, "Runs on the thread of who asked.", {}, plain<&S::in_place>},
      {"anya_split_batches", kCounter, "Batches run again in halves because a run failed.", {}, plain<&S::splits>},
      {"anya_terminated_runs",
       kCounter,
       "Runs stopped because nobody waited for them any more.",
       {},
       plain<&S::terminated_runs>},
      {"anya_model_memory_bytes",
       kGauge,
       "Bytes of the model's files; ONNX Runtime's own use comes on top.",
       {},
       plain<&S::memory_bytes>},
      {"anya_request_duration_seconds", kHistogram, kRequestDuration, {}, histogram<&S::request_duration>},
      {"anya_queue_duration_seconds",
       kHistogram,
       "From acceptance to the start of the run.",
       {},
       histogram<&S::queue_duration>},
      {"anya_compute_duration_seconds",
       kHistogram,
       "The run, once per request in it.",
       {},
       histogram<&S::compute_duration>},
      {"anya_batch_size", kHistogram, "Rows per run.", {}, histogram<&S::batch_size>},
      {"anya_prediction_confidence",
       kHistogram,
       "Largest probability of each prediction.",
       {},
       histogram<&S::confidence>},
      {"anya_prediction_margin",
       kHistogram,
       "How far the largest probability is above the next one.",
       {},
       histogram<&S::margin>},
      {"anya_prediction_entropy",
       kHistogram,
       "Entropy of each prediction over its largest possible value.",
       {},
       histogram<&S::entropy>},
      {"anya_predictions", kCounter, "Predictions by class; invalid: no distribution.", {"class"}, predictions},
  };
}

// What it does not hold.
std::vector<Row> table_beside() {
  constexpr MetricKind kCounter = MetricKind::kCounter;
  constexpr MetricKind kGauge = MetricKind::kGauge;
  using S = ModelStats;
  return {
      {"anya_nonfinite_values",
       kCounter,
       "NaN and infinities met in inputs and outputs that have rules; the first one of each that was refused.",
       {"tensor"},
       nonfinite},
      {"anya_sanitized_values",
       kCounter,
       "Values of inputs that rules have changed: clipped, replaced, normalised.",
       {"tensor"},
       sanitized},
      {"anya_stuck_runs",
       kGauge,
       "Runs that were told to stop over a second ago and have not.",
       {},
       plain<&S::stuck_runs>},
      {"anya_circuit_state",
       kGauge,
       "The circuit breaker: 0 closed, 1 half open, 2 open.",
       {},
       circuit_state,
       Merge::kMax},
      {"anya_cache_requests",
       kCounter,
       "Requests to models with a response cache, by what it did for them.",
       {"result"},
       cache_requests},
      {"anya_cache_bytes", kGauge, "Memory of the response cache.", {}, cache_bytes},
      {"anya_cache_evictions", kCounter, "Answers that left the response cache, by cause.", {"cause"}, evictions},
  };
}

void append_families(std::vector<MetricFamily>& families, const std::vector<Row>& rows,
                     std::span<const ModelStats> models) {
  for (const Row& row : rows) {
    MetricFamily& family = families.emplace_back();
    family.name = row.name;
    family.kind = row.kind;
    family.help = row.help;
    family.merge = row.merge;
    family.label_names = {"model", "version"};
    family.label_names.insert(family.label_names.end(), row.more_labels.begin(), row.more_labels.end());
    for (const ModelStats& stats : models) row.fill(family, Version{stats});
  }
}

std::vector<MetricFamily> families_of(std::span<const ModelStats> models) {
  std::vector<MetricFamily> families;
  append_families(families, table(), models);
  append_families(families, table_beside(), models);
  return families;
}

}  // namespace

std::string_view kind_name(MetricKind kind) noexcept {
  static constexpr std::array<std::string_view, 3> kNames = {"counter", "gauge", "histogram"};
  return kNames[static_cast<std::size_t>(kind)];
}

std::vector<MetricFamily> metric_families(std::span<const ModelStats> models) {
  std::set<std::pair<std::string_view, std::string_view>> versions;
  for (const ModelStats& each : models) versions.emplace(each.name, each.version);
  if (versions.size() == models.size()) return families_of(models);
  std::vector<std::vector<MetricFamily>> parts;
  for (const ModelStats& each : models) parts.push_back(families_of({&each, 1}));
  return merge_families(parts);
}

std::vector<MetricFamily> families_beside_counters(std::span<const ModelStats> models) {
  std::vector<MetricFamily> families;
  append_families(families, table_beside(), models);
  append_families(families,
                  {{"anya_request_duration_seconds", MetricKind::kHistogram, kRequestDuration, {}, exemplars}}, models);
  return families;
}

}  // namespace anya
