// SPDX-License-Identifier: Apache-2.0
#include "stats/model_counters.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <utility>

namespace anya {
namespace {

template <std::size_t N>
constexpr std::array<std::uint64_t, N> scaled(const std::array<double, N>& edges, double unit) {
  std::array<std::uint64_t, N> out{};
  // NOLINTNEXTLINE(bugprone-incorrect-roundings): of positive numbers; std::lround is no constant expression
  for (std::size_t i = 0; i < N; ++i) out[i] = static_cast<std::uint64_t>(edges[i] * unit + 0.5);
  return out;
}
constexpr auto kDurationNanos = scaled(kDurationEdges, 1e9);
constexpr auto kBatchRows = scaled(kBatchEdges, 1);

constexpr std::uint64_t kMillion = 1'000'000;

std::uint64_t positive(Nanos value) noexcept { return value > 0 ? static_cast<std::uint64_t>(value) : 0; }

// Counts of a few things, less than 65 536, on the way to what they are added to. Not thread-safe.
template <std::size_t N>
class Few {
 public:
  void add(std::size_t at, std::uint64_t value) noexcept {
    ++counts_[at];
    sum_ += value;
  }
  [[nodiscard]] std::uint64_t sum() const noexcept { return sum_; }
  template <typename Take>
  void each(const Take& take) const {
    for (std::size_t at = 0; at < counts_.size(); at += 4) {
      std::uint64_t four = 0;  // at once: most are none
      std::memcpy(&four, &counts_[at], sizeof(four));
      for (std::size_t i = at; four != 0 && i < at + 4; ++i) {
        if (counts_[i] != 0) take(i, counts_[i]);
      }
    }
  }

 private:
  std::array<std::uint16_t, (N + 3) / 4 * 4> counts_{};
  std::uint64_t sum_ = 0;
};

// What lies between 0 and 1, by its bucket.
template <std::size_t N>
void observe_share(Few<N>& counts, double share) noexcept {
  // NOLINTNEXTLINE(bugprone-incorrect-roundings): of a positive number; std::lround is a call
  const std::uint64_t millionths = std::min(kMillion, static_cast<std::uint64_t>(share * kMillion + 0.5));
  counts.add(millionths == 0 ? 0 : (millionths - 1) * kShareEdges.size() / kMillion, millionths);
}

template <std::size_t N>
HistogramSnapshot empty(const std::array<double, N>& edges) {
  return {{edges.begin(), edges.end()}, std::vector<std::uint64_t>(N + 1), 0.0};
}

template <typename Counts>
void add_each(Counts& sum, const Counts& more) {
  for (std::size_t i = 0; i < more.size(); ++i) sum[i] += more[i];
}

}  // namespace

void add(HistogramSnapshot& sum, const HistogramSnapshot& more) {
  if (more.edges.empty()) return;  // of nothing
  if (sum.edges.empty()) {
    sum = more;
    return;
  }
  add_each(sum.counts, more.counts);
  sum.sum += more.sum;
  sum.exemplars.insert(sum.exemplars.end(), more.exemplars.begin(), more.exemplars.end());
}

void add(ModelStats& sum, const ModelStats& more) {
  sum.accepted += more.accepted;
  add_each(sum.ended, more.ended);
  for (std::size_t role = 0; role < kRoleCount; ++role) add_each(sum.ended_by_role[role], more.ended_by_role[role]);
  add_each(sum.refused, more.refused);
  add_each(sum.dispatches, more.dispatches);
  sum.in_flight += more.in_flight;
  sum.queue_depth += more.queue_depth;
  sum.max_queue_size += more.max_queue_size;
  sum.memory_bytes += more.memory_bytes;
  sum.instances += more.instances;
  sum.instances_busy += more.instances_busy;
  sum.batches += more.batches;
  sum.rows += more.rows;
  sum.in_place += more.in_place;
  sum.splits += more.splits;
  sum.terminated_runs += more.terminated_runs;
  sum.stuck_runs += more.stuck_runs;
  add(sum.request_duration, more.request_duration);
  add(sum.queue_duration, more.queue_duration);
  add(sum.compute_duration, more.compute_duration);
  add(sum.batch_size, more.batch_size);
  add(sum.confidence, more.confidence);
  add(sum.margin, more.margin);
  add(sum.entropy, more.entropy);
  for (const auto& [name, count] : more.predictions) {
    const auto is_it = [&name = name](const auto& other) { return other.first == name; };
    const auto found = std::ranges::find_if(sum.predictions, is_it);
    if (found == sum.predictions.end()) {
      sum.predictions.emplace_back(name, count);
    } else {
      found->second += count;
    }
  }
}

std::string_view role_name(Role role) noexcept {
  static constexpr std::array<std::string_view, kRoleCount> kNames = {"stable", "canary", "control", "shadow"};
  return kNames[static_cast<std::size_t>(role)];
}

std::string_view dispatch_name(Dispatch dispatch) noexcept {
  static constexpr std::array<std::string_view, kDispatchCount> kNames = {"idle", "full", "deadline", "delay"};
  return kNames[static_cast<std::size_t>(dispatch)];
}

std::size_t ModelCounters::bytes() noexcept { return kShards * sizeof(Shard); }

ModelCounters::ModelCounters()
    : owner_(new Shard[kShards], [](Shard* shards) { delete[] shards; }), shards_(static_cast<Shard*>(owner_.get())) {
  static_assert(kShards == 8, "shard() shifts to 3 bits");
}

ModelCounters::ModelCounters(std::span<std::byte> memory, std::shared_ptr<void> owner)
    : owner_(std::move(owner)), shards_(reinterpret_cast<Shard*>(memory.data())) {
  if (memory.size() < bytes() || reinterpret_cast<std::uintptr_t>(memory.data()) % alignof(Shard) != 0) {
    throw Error(ErrorCode::kConfigError, "a version's counters need " + std::to_string(bytes()) +
                                             " bytes, aligned to 64; they were given " + std::to_string(memory.size()));
  }
}

void ModelCounters::become(std::span<const std::byte> words) noexcept {
  // They are words and nothing else, and nobody counts here yet.
  std::memcpy(static_cast<void*>(shards_), words.data(), std::min(words.size(), bytes()));
}

void ModelCounters::ended(ErrorCode code, Role role, Nanos accepted_at, Nanos started_at, Nanos ended_at) noexcept {
  Shard& mine = shard();
  const auto observe = [](auto& histogram, Nanos span) {
    const std::uint64_t nanos = positive(span);
    histogram.observe(bucket_of(kDurationNanos, nanos), nanos);
  };
  if (started_at != 0) {
    observe(mine.queue, started_at - accepted_at);
    observe(mine.compute, ended_at - started_at);
  }
  observe(mine.request, ended_at - accepted_at);
  // Release: a reader that sees this end also sees the acceptance, which came before it.
  mine.ended[static_cast<std::size_t>(role)][static_cast<std::size_t>(code)].fetch_add(1, std::memory_order_release);
}

void ModelCounters::traced(std::uint64_t trace_high, std::uint64_t trace_low, Nanos duration) noexcept {
  const std::uint64_t nanos = positive(duration);
  exemplars_[bucket_of(kDurationNanos, nanos)].put({trace_high, trace_low, nanos});
}

void ModelCounters::ran(std::int64_t rows) noexcept {
  Shard& mine = shard();
  const std::uint64_t count = positive(rows);
  mine.batches.fetch_add(1, std::memory_order_relaxed);
  mine.rows.fetch_add(count, std::memory_order_relaxed);
  mine.batch.observe(bucket_of(kBatchRows, count), count);
}

void ModelCounters::predicted(std::span<const Prediction> predictions) noexcept {
  // Counted here first: what many threads may write costs several times what one alone does.
  Few<kShareEdges.size() + 1> confidence;
  Few<kShareEdges.size() + 1> margin;
  Few<kShareEdges.size() + 1> entropy;
  Few<kClasses + 2> classes;
  for (const Prediction& each : predictions) {
    classes.add(each.decided ? std::min(each.top, kClasses) : kClasses + 1, 0);
    if (!each.decided) continue;
    observe_share(confidence, each.confidence);
    observe_share(margin, each.margin);
    observe_share(entropy, each.entropy);
  }
  Shard& mine = shard();
  const auto add_to = [](auto& histogram) { return [&](std::size_t at, auto n) { histogram.count(at, n); }; };
  confidence.each(add_to(mine.confidence));
  margin.each(add_to(mine.margin));
  entropy.each(add_to(mine.entropy));
  mine.confidence.add(confidence.sum());
  mine.margin.add(margin.sum());
  mine.entropy.add(entropy.sum());
  classes.each([&](std::size_t at, auto n) { mine.classes[at].fetch_add(n, std::memory_order_relaxed); });
}

void ModelCounters::read_predictions(ModelStats& stats, std::span<const std::string> classes) const {
  stats.confidence = empty(kShareEdges);
  stats.margin = empty(kShareEdges);
  stats.entropy = empty(kShareEdges);
  std::array<std::uint64_t, kClasses + 2> counts{};
  for (std::size_t i = 0; i < kShards; ++i) {
    shards_[i].confidence.add_to(stats.confidence, 1.0 / kMillion);
    shards_[i].margin.add_to(stats.margin, 1.0 / kMillion);
    shards_[i].entropy.add_to(stats.entropy, 1.0 / kMillion);
    for (std::size_t at = 0; at < counts.size(); ++at) {
      counts[at] += shards_[i].classes[at].load(std::memory_order_relaxed);
    }
  }
  stats.predictions.clear();
  for (std::size_t at = 0; at < kClasses; ++at) {
    const bool has_name = at < classes.size();
    if (has_name || counts[at] > 0)
      stats.predictions.emplace_back(has_name ? classes[at] : std::to_string(at), counts[at]);
  }
  stats.predictions.emplace_back("other", counts[kClasses]);
  stats.predictions.emplace_back("invalid", counts[kClasses + 1]);
}

void ModelCounters::read(ModelStats& stats) const {
  stats.request_duration = empty(kDurationEdges);
  stats.queue_duration = empty(kDurationEdges);
  stats.compute_duration = empty(kDurationEdges);
  stats.batch_size = empty(kBatchEdges);
  std::uint64_t all_ended = 0;
  for (std::size_t i = 0; i < kShards; ++i) {
    for (std::size_t role = 0; role < kRoleCount; ++role) {
      for (std::size_t code = 0; code < kErrorCodeCount; ++code) {
        const std::uint64_t count = shards_[i].ended[role][code].load(std::memory_order_acquire);
        stats.ended_by_role[role][code] += count;
        stats.ended[code] += count;
        all_ended += count;
      }
    }
  }
  for (std::size_t i = 0; i < kShards; ++i) {
    const Shard& one = shards_[i];
    stats.accepted += one.accepted.load(std::memory_order_relaxed);
    for (std::size_t code = 0; code < kErrorCodeCount; ++code) {
      stats.refused[code] += one.refused[code].load(std::memory_order_relaxed);
    }
    for (std::size_t why = 0; why < kDispatchCount; ++why) {
      stats.dispatches[why] += one.dispatches[why].load(std::memory_order_relaxed);
    }
    stats.batches += one.batches.load(std::memory_order_relaxed);
    stats.rows += one.rows.load(std::memory_order_relaxed);
    stats.in_place += one.in_place.load(std::memory_order_relaxed);
    stats.splits += one.splits.load(std::memory_order_relaxed);
    stats.terminated_runs += one.terminated.load(std::memory_order_relaxed);
    one.request.add_to(stats.request_duration, 1e-9);
    one.queue.add_to(stats.queue_duration, 1e-9);
    one.compute.add_to(stats.compute_duration, 1e-9);
    one.batch.add_to(stats.batch_size, 1);
  }
  for (std::size_t bucket = 0; bucket < exemplars_.size(); ++bucket) {
    const auto seen = exemplars_[bucket].get();
    if (!seen) continue;
    char hex[33];
    std::snprintf(hex, sizeof(hex), "%016" PRIx64 "%016" PRIx64, seen->trace_high, seen->trace_low);
    stats.request_duration.exemplars.push_back({bucket, hex, static_cast<double>(seen->value) * 1e-9});
  }
  stats.in_flight = stats.accepted - all_ended;
  std::uint64_t queued = 0;
  std::uint64_t left = 0;
  std::uint64_t began = 0;
  for (std::size_t i = 0; i < kShards; ++i) {
    left += shards_[i].left_queue.load(std::memory_order_relaxed);
    queued += shards_[i].queued.load(std::memory_order_relaxed);
    began += shards_[i].began.load(std::memory_order_relaxed);
  }
  stats.queue_depth = queued - std::min(queued, left);
  stats.instances_busy = began - std::min(began, stats.batches);
}

std::uint64_t ModelCounters::succeeded() const noexcept {
  std::uint64_t count = 0;
  for (std::size_t i = 0; i < kShards; ++i) {
    for (const auto& of_role : shards_[i].ended) {
      count += of_role[static_cast<std::size_t>(ErrorCode::kOk)].load(std::memory_order_relaxed);
    }
  }
  return count;
}

std::uint64_t ModelCounters::in_flight() const noexcept {
  std::uint64_t ended = 0;
  std::uint64_t accepted = 0;
  for (std::size_t i = 0; i < kShards; ++i) {
    for (const auto& of_role : shards_[i].ended) {
      for (const auto& count : of_role) ended += count.load(std::memory_order_acquire);
    }
  }
  for (std::size_t i = 0; i < kShards; ++i) accepted += shards_[i].accepted.load(std::memory_order_relaxed);
  return accepted - ended;
}

ModelStats stats_in(std::span<const std::byte> memory, const std::vector<std::string>* classes) {
  const std::size_t size = ModelCounters::bytes();
  if (memory.size() < 2 * size) throw Error(ErrorCode::kConfigError, "the memory is too small for counters");
  ModelStats sum;
  for (const std::size_t part : {std::size_t{0}, size}) {
    ModelCounters counters;
    counters.become(memory.subspan(part, size));
    ModelStats stats;
    counters.read(stats);
    if (classes != nullptr) counters.read_predictions(stats, *classes);
    add(sum, stats);
  }
  return sum;
}

}  // namespace anya
