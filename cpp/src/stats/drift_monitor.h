// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "anya/clock.h"
#include "anya/drift.h"
#include "anya/session.h"
#include "base/mutex.h"
#include "stats/drift_bins.h"
#include "stats/row_summary.h"

namespace anya {

// Counts what a model is asked and what it answers, for one plan. One shard for each instance of the model: its holder
// counts there, alone, after a run. The shard's lock is taken by that holder and, for some microseconds, by who takes
// the counts. Nothing is allocated after construction.
//
// Thread-safe as said at each function.
class DriftMonitor {
 public:
  // Whose rows they are, in the order in which they lie in a run's tensors. 0 rows: a request whose shapes are its own.
  struct Asker {
    std::uint64_t id = 0;
    std::int64_t rows = 0;
  };
  // A good run: memory that nobody writes to until the call is over.
  struct Run {
    std::span<const Asker> askers;
    std::span<const TensorView> inputs;  // in schema order
    std::span<const OutputBuffer> outputs;
    std::span<const std::uint32_t> output_indices;
    Nanos compute = 0;
  };

  // Throws Error(kConfigError) for a plan that contradicts itself. `clock` outlives the monitor.
  DriftMonitor(const DriftPlan& plan, std::size_t shards, const Clock& clock);

  // Counts a run. By the holder of the instance, whose number is the shard's.
  void look(std::size_t shard, const Run& run) noexcept;
  // The same in two steps, for memory that is the caller's own again once the answer is out: `keep` copies before that
  // (what is too large or is text is counted at once), `look_at_kept` counts afterwards.
  void keep(std::size_t shard, const Run& run) noexcept;
  void look_at_kept(std::size_t shard) noexcept;

  // What was counted since it was last taken. By any thread.
  DriftCounts take();

 private:
  static constexpr std::size_t kKeptBytes = std::size_t{64} << 10U;
  static constexpr std::size_t kRowsAtOnce = 32;
  static constexpr std::size_t kMostElement = 8;

  struct Watched {
    explicit Watched(const DriftTensor& tensor) : is_output(tensor.is_output), index(tensor.index), summary(tensor) {}
    bool is_output;
    std::uint32_t index;
    bool columns = false;
    RowSummary summary;
    std::vector<DriftBins> features;
    std::vector<std::size_t> first_bins;  // of each feature, among all
    std::size_t first_feature = 0;
    std::size_t number = 0;  // among the watched
  };
  // Rows of columns that came in small numbers and wait to be counted together, at a fraction of the cost.
  struct Pending {
    std::vector<std::byte> rows;
    std::size_t count = 0;
    DType dtype = DType::kUndefined;
  };
  // Rows of one watched tensor.
  struct Job {
    const Watched* watched = nullptr;
    DType dtype = DType::kUndefined;
    std::size_t rows = 0;
    std::size_t elements = 0;  // of a row
    const std::byte* data = nullptr;
  };
  // What looking at a run took, of whose inputs some were looked at.
  struct Sampled {
    std::int64_t rows = 0;  // whose inputs
    std::int64_t all_rows = 0;
    Nanos inputs = 0;
    Nanos outputs = 0;
    Nanos compute = 0;
  };
  struct alignas(64) Shard {
    Mutex mutex;
    std::unique_ptr<DriftCounts> active GUARDED_BY(mutex);
    std::vector<Pending> pending GUARDED_BY(mutex);
    std::unique_ptr<DriftCounts> spare;  // of who takes
    // Of the holder of the instance.
    std::vector<double> numbers;
    std::vector<float> lent;
    std::unique_ptr<std::byte[]> kept;
    std::size_t kept_bytes = 0;
    std::vector<Job> jobs;
    Sampled of_kept;
    std::uint64_t threshold = 0;  // requests whose hash is below it are sampled
    double input_nanos = 0;       // of a row's inputs, learned
    double output_nanos = 0;      // of its outputs, likewise
    double run_nanos = 0;         // of its run, likewise
  };

  [[nodiscard]] DriftCounts nothing() const;
  static void clear(DriftCounts& bank) noexcept;
  [[nodiscard]] bool samples(const Shard& shard, std::uint64_t id) const noexcept;
  static void count_rows(DriftCounts& bank, const Sampled& sampled) noexcept;
  void learn(Shard& shard, const Sampled& sampled) const noexcept;
  template <typename Do>
  Sampled each_job(const Shard& shard, const Run& run, Do&& handle) const noexcept;
  template <typename Do>
  static void one_job(const Watched& watched, DType dtype, const Shape& shape, const void* data, std::size_t first,
                      std::size_t rows, Do&& handle) noexcept;
  static void count(Shard& shard, DriftCounts& bank, const Job& job) noexcept;
  static void count_soon(Shard& shard, Pending& pending, DriftCounts& bank, const Job& job) noexcept;
  static void count_columns(const Watched& watched, DriftCounts& bank, DType dtype, const void* data,
                            std::size_t rows) noexcept;

  const double sample_rate_;
  const double budget_;
  const Clock& clock_;
  std::vector<Watched> watched_;
  bool watches_inputs_ = false;
  std::size_t bins_ = 0;
  std::size_t features_ = 0;
  std::vector<std::unique_ptr<Shard>> shards_;
  Mutex taking_;  // one at a time
};

// Adds what was counted by the same plan. An empty one is nothing.
void add(DriftCounts& sum, const DriftCounts& more);

}  // namespace anya
