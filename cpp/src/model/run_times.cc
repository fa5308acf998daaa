// SPDX-License-Identifier: Apache-2.0
#include "model/run_times.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <numeric>

#include "model/sample_rows.h"

namespace anya {
namespace {

constexpr int kTries = 3;

bool one_shape(const ModelSchema& schema) {
  return std::ranges::all_of(schema.inputs, [](const TensorSpec& input) {
    if (!input.ranked) return false;
    const auto dims = input.shape.dims();
    return std::all_of(dims.begin() + 1, dims.end(), [](std::int64_t size) { return size >= 0; });
  });
}

}  // namespace

std::vector<MeasuredRun> measure_run_times(Session& session, std::int64_t max_rows, Nanos budget, const Clock& clock) {
  std::vector<MeasuredRun> times;
  const ModelSchema& schema = session.schema();
  if (!one_shape(schema)) return times;
  std::vector<std::uint32_t> all(schema.outputs.size());
  std::iota(all.begin(), all.end(), 0U);
  const std::unique_ptr<RunControl> control = session.make_run_control();
  const Nanos end = clock.now() + budget;
  Nanos best = 0;
  for (std::int64_t rows = 1; rows <= max_rows && clock.now() + 2 * best < end; rows *= 2) {
    const SampleRows sample(schema, /*batch_axis=*/true, rows, /*free_size=*/1, Integers::kBits);
    const std::vector<TensorView> views = sample.views();
    best = 0;
    // A long run is tried once: the larger sizes tell more than a second look.
    for (int i = 0; i < kTries && (i == 0 || best < budget / 100); ++i) {
      std::vector<OutputBuffer> outputs(all.size());
      for (std::size_t o = 0; o < all.size(); ++o) outputs[o].dtype = schema.outputs[o].dtype;
      const Nanos before = clock.now();
      if (!session.run(*control, views, all, outputs).ok()) return times;
      const Nanos took = std::max<Nanos>(1, clock.now() - before);
      best = best == 0 ? took : std::min(best, took);
    }
    times.push_back({rows, best});
  }
  return times;
}

}  // namespace anya
