// SPDX-License-Identifier: Apache-2.0
#include "stats/drift_monitor.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "anya/status.h"
#include "base/hash.h"
#include "stats/elements.h"

namespace anya {
namespace {

// Until looks have been timed.
constexpr double kFirstRate = 1.0 / 64;

std::uint64_t threshold_of(double rate) noexcept {
  return rate >= 1 ? UINT64_MAX : static_cast<std::uint64_t>(rate * 0x1p64);
}

void check(const DriftTensor& tensor, const DriftFeature& feature) {
  const bool fits = feature.source < tensor.numbers && feature.bins > 0 &&
                    (feature.keys.empty() ? feature.edges.size() + 1 == feature.bins
                                          : feature.key_bins.size() == feature.keys.size()) &&
                    std::ranges::all_of(feature.key_bins, [&](std::uint32_t bin) { return bin < feature.bins; }) &&
                    std::ranges::is_sorted(feature.edges) && std::ranges::is_sorted(feature.keys);
  if (!fits) throw Error(ErrorCode::kConfigError, "a feature of a drift plan contradicts itself");
}

}  // namespace

DriftMonitor::DriftMonitor(const DriftPlan& plan, std::size_t shards, const Clock& clock)
    : sample_rate_(plan.sample_rate), budget_(plan.budget), clock_(clock) {
  std::size_t numbers = 1;
  std::size_t lent = 0;
  for (const DriftTensor& tensor : plan.tensors) {
    Watched& watched = watched_.emplace_back(tensor);
    watched.columns = tensor.kind == DriftKind::kColumns;
    watched.first_feature = features_;
    watched.number = watched_.size() - 1;
    for (const DriftFeature& feature : tensor.features) {
      check(tensor, feature);
      watched.features.emplace_back(feature);
      watched.first_bins.push_back(bins_);
      bins_ += feature.bins;
      ++features_;
    }
    watches_inputs_ |= !tensor.is_output;
    numbers = std::max(numbers, watched.summary.numbers());
    lent = std::max(lent, watched.summary.lent());
  }
  for (std::size_t i = 0; i < shards; ++i) {
    auto shard = std::make_unique<Shard>();
    for (auto* bank : {&shard->active, &shard->spare}) *bank = std::make_unique<DriftCounts>(nothing());
    for (const Watched& watched : watched_) {
      Pending& pending = shard->pending.emplace_back();
      if (watched.columns) pending.rows.resize(kRowsAtOnce * watched.summary.numbers() * kMostElement);
    }
    shard->numbers.resize(numbers * kRowsAtOnce);
    shard->lent.resize(lent);
    shard->kept = std::make_unique<std::byte[]>(kKeptBytes);
    shard->jobs.reserve(watched_.size());
    shard->threshold = threshold_of(sample_rate_ < 0 ? kFirstRate : sample_rate_);
    shards_.push_back(std::move(shard));
  }
}

DriftCounts DriftMonitor::nothing() const {
  DriftCounts counts;
  counts.bins.resize(bins_);
  counts.tallies.resize(features_);
  clear(counts);
  return counts;
}

void DriftMonitor::clear(DriftCounts& bank) noexcept {
  std::ranges::fill(bank.bins, 0);
  DriftTally nothing;
  nothing.min = std::numeric_limits<double>::infinity();
  nothing.max = -nothing.min;
  std::ranges::fill(bank.tallies, nothing);
  bank.rows = 0;
  bank.sampled_rows = 0;
}

bool DriftMonitor::samples(const Shard& shard, std::uint64_t id) const noexcept {
  return hash_combine(4, id) < shard.threshold;
}

template <typename Do>
void DriftMonitor::one_job(const Watched& watched, DType dtype, const Shape& shape, const void* data, std::size_t first,
                           std::size_t rows, Do&& handle) noexcept {
  const std::size_t elements = elements_of_row(shape);
  if (rows == 0 || data == nullptr || !watched.summary.fits(dtype, shape, elements)) return;
  const std::byte* const at = static_cast<const std::byte*>(data) + first * elements * element_size(dtype);
  handle(Job{&watched, dtype, rows, elements, at});
}

// What of a run is to be looked at: every output, then the inputs of the sampled requests, whose time is taken.
template <typename Do>
DriftMonitor::Sampled DriftMonitor::each_job(const Shard& shard, const Run& run, Do&& handle) const noexcept {
  Sampled sampled;
  sampled.compute = run.compute;
  bool any = false;
  for (const Asker& asker : run.askers) {
    sampled.all_rows += std::max<std::int64_t>(1, asker.rows);
    any |= watches_inputs_ && samples(shard, asker.id);
  }
  const Nanos began = any ? clock_.now() : 0;
  for (const Watched& watched : watched_) {
    if (!watched.is_output) continue;
    for (std::size_t i = 0; i < run.output_indices.size(); ++i) {
      if (run.output_indices[i] != watched.index) continue;
      const OutputBuffer& output = run.outputs[i];
      one_job(watched, output.dtype, output.shape, output.data, 0, rows_in(output.shape), handle);
    }
  }
  if (!any) return sampled;
  const Nanos middle = clock_.now();
  std::size_t first = 0;
  for (const Asker& asker : run.askers) {
    const auto own = static_cast<std::size_t>(asker.rows);
    if (samples(shard, asker.id)) {
      for (const Watched& watched : watched_) {
        if (watched.is_output) continue;
        const TensorView& input = run.inputs[watched.index];
        one_job(watched, input.dtype, input.shape, input.data, first, own == 0 ? rows_in(input.shape) : own, handle);
      }
      sampled.rows += std::max<std::int64_t>(1, asker.rows);
    }
    first += own;
  }
  sampled.outputs = middle - began;
  sampled.inputs = clock_.now() - middle;
  return sampled;
}

// Of a run whose values are all in the bank, and of none before: whoever takes it finds every row in its bins.
void DriftMonitor::count_rows(DriftCounts& bank, const Sampled& sampled) noexcept {
  bank.rows += static_cast<std::uint64_t>(sampled.all_rows);
  bank.sampled_rows += static_cast<std::uint64_t>(sampled.rows);
}

// The rate at which looking takes its share of computing. Outputs are looked at in any case: inputs get what they
// leave, a tenth of all at least. Each is remembered over some sixteen looks, of which a few count the rows that have
// waited.
void DriftMonitor::learn(Shard& shard, const Sampled& sampled) const noexcept {
  if (sampled.rows == 0 || sample_rate_ >= 0) return;
  const auto blend = [](double& known, Nanos took, std::int64_t rows) {
    const double seen = static_cast<double>(std::max<Nanos>(1, took)) / static_cast<double>(rows);
    known = known == 0 ? seen : known + (seen - known) / 16;
  };
  blend(shard.input_nanos, sampled.inputs, sampled.rows);
  blend(shard.output_nanos, sampled.outputs, sampled.all_rows);
  blend(shard.run_nanos, sampled.compute, sampled.all_rows);
  const double all = budget_ * shard.run_nanos;
  shard.threshold = threshold_of(std::max(all - shard.output_nanos, all / 10) / shard.input_nanos);
}

void DriftMonitor::count_columns(const Watched& watched, DriftCounts& bank, DType dtype, const void* data,
                                 std::size_t rows) noexcept {
  with_elements(dtype, data, [&](const auto* elements, auto wide) {
    for (std::size_t i = 0; i < watched.features.size(); ++i) {
      const DriftBins& feature = watched.features[i];
      feature.count(elements + feature.source(), watched.summary.numbers(), rows, wide,
                    bank.bins.data() + watched.first_bins[i], bank.tallies[watched.first_feature + i]);
    }
  });
}

void DriftMonitor::count(Shard& shard, DriftCounts& bank, const Job& job) noexcept {
  const Watched& watched = *job.watched;
  if (watched.columns) return count_columns(watched, bank, job.dtype, job.data, job.rows);
  const std::size_t numbers = watched.summary.numbers();
  const std::size_t row_bytes = job.elements * element_size(job.dtype);
  for (std::size_t first = 0; first < job.rows; first += kRowsAtOnce) {
    const std::size_t rows = std::min(kRowsAtOnce, job.rows - first);
    for (std::size_t row = 0; row < rows; ++row) {
      watched.summary.look(job.dtype, job.elements, job.data + (first + row) * row_bytes, shard.lent.data(),
                           shard.numbers.data() + row * numbers);
    }
    for (std::size_t i = 0; i < watched.features.size(); ++i) {
      const DriftBins& feature = watched.features[i];
      feature.count(
          shard.numbers.data() + feature.source(), numbers, rows, [](double x) { return x; },
          bank.bins.data() + watched.first_bins[i], bank.tallies[watched.first_feature + i]);
    }
  }
}

// REQUIRES: the shard's lock.
void DriftMonitor::count_soon(Shard& shard, Pending& pending, DriftCounts& bank, const Job& job) noexcept {
  const Watched& watched = *job.watched;
  if (!watched.columns || job.rows * 2 > kRowsAtOnce) return count(shard, bank, job);
  if (pending.count + job.rows > kRowsAtOnce || pending.dtype != job.dtype) {
    count_columns(watched, bank, pending.dtype, pending.rows.data(), pending.count);
    pending.count = 0;
  }
  const std::size_t row_bytes = job.elements * element_size(job.dtype);
  std::memcpy(pending.rows.data() + pending.count * row_bytes, job.data, job.rows * row_bytes);
  pending.count += job.rows;
  pending.dtype = job.dtype;
}

void DriftMonitor::look(std::size_t shard, const Run& run) noexcept {
  Shard& mine = *shards_[shard];
  MutexLock lock(mine.mutex);
  DriftCounts& bank = *mine.active;
  Pending* const pending = mine.pending.data();
  const Sampled sampled =
      each_job(mine, run, [&](const Job& job) { count_soon(mine, pending[job.watched->number], bank, job); });
  count_rows(bank, sampled);
  learn(mine, sampled);
}

void DriftMonitor::keep(std::size_t shard, const Run& run) noexcept {
  Shard& mine = *shards_[shard];
  mine.kept_bytes = 0;
  MutexLock lock(mine.mutex);
  DriftCounts& bank = *mine.active;
  mine.of_kept = each_job(mine, run, [&](Job job) {
    const std::size_t bytes = job.rows * job.elements * element_size(job.dtype);
    if (job.dtype == DType::kString || bytes > kKeptBytes - mine.kept_bytes || mine.jobs.size() == watched_.size()) {
      count(mine, bank, job);
      return;
    }
    std::byte* const copy = mine.kept.get() + mine.kept_bytes;
    std::memcpy(copy, job.data, bytes);
    mine.kept_bytes += (bytes + 63) / 64 * 64;  // the next one's elements are aligned, too
    mine.kept_bytes = std::min(mine.kept_bytes, kKeptBytes);
    job.data = copy;
    mine.jobs.push_back(job);
  });
}

void DriftMonitor::look_at_kept(std::size_t shard) noexcept {
  Shard& mine = *shards_[shard];
  MutexLock lock(mine.mutex);
  const bool any = mine.of_kept.rows > 0;
  const Nanos began = any ? clock_.now() : 0;
  Nanos middle = began;
  for (const Job& job : mine.jobs) {
    count_soon(mine, mine.pending[job.watched->number], *mine.active, job);
    if (any && job.watched->is_output) middle = clock_.now();
  }
  mine.jobs.clear();
  Sampled sampled = std::exchange(mine.of_kept, {});
  count_rows(*mine.active, sampled);
  if (!any) return;
  sampled.outputs += middle - began;
  sampled.inputs += clock_.now() - middle;
  learn(mine, sampled);
}

DriftCounts DriftMonitor::take() {
  MutexLock one(taking_);
  DriftCounts counts = nothing();
  for (const auto& shard : shards_) {
    {
      MutexLock lock(shard->mutex);
      for (const Watched& watched : watched_) {
        Pending& pending = shard->pending[watched.number];
        if (pending.count == 0) continue;
        count_columns(watched, *shard->active, pending.dtype, pending.rows.data(), pending.count);
        pending.count = 0;
      }
      std::swap(shard->active, shard->spare);
    }
    add(counts, *shard->spare);
    clear(*shard->spare);
  }
  return counts;
}

void add(DriftCounts& sum, const DriftCounts& more) {
  if (more.bins.empty()) return;
  if (sum.bins.empty()) {
    sum = more;
    return;
  }
  for (std::size_t i = 0; i < sum.bins.size(); ++i) sum.bins[i] += more.bins[i];
  for (std::size_t i = 0; i < sum.tallies.size(); ++i) {
    DriftTally& all = sum.tallies[i];
    const DriftTally& one = more.tallies[i];
    all.nan += one.nan;
    all.pos_inf += one.pos_inf;
    all.neg_inf += one.neg_inf;
    all.sum += one.sum;
    all.squares += one.squares;
    all.min = std::min(all.min, one.min);
    all.max = std::max(all.max, one.max);
  }
  sum.rows += more.rows;
  sum.sampled_rows += more.sampled_rows;
}

}  // namespace anya
