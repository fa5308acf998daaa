// SPDX-License-Identifier: Apache-2.0
//
// What looking at outputs for drift costs: one round, nanoseconds by what is looked at, as JSON. Everything that was
// looked at must have been counted. Each figure is the least of many short samples, since others use the machine too.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "anya/clock.h"
#include "stats/drift_monitor.h"

namespace {

using anya::DriftKind;
using anya::DriftTensor;
using anya::Shape;

constexpr int kBins = 20;
constexpr int kSamples = 200;
constexpr std::size_t kTensors = 8;  // in turn

DriftTensor watched(DriftKind kind, std::uint32_t numbers) {
  DriftTensor tensor;
  tensor.is_output = true;
  tensor.kind = kind;
  tensor.numbers = numbers;
  for (std::uint32_t i = 0; i < numbers; ++i) {
    anya::DriftFeature feature;
    feature.source = i;
    for (int edge = 1; edge < kBins; ++edge) feature.edges.push_back((edge - kBins / 2) * 0.2);
    feature.bins = kBins;
    tensor.features.push_back(feature);
  }
  return tensor;
}

// Nanoseconds of a look at one tensor of that shape.
double nanos(const DriftTensor& tensor, const Shape& shape, int calls) {
  const anya::SteadyClock clock;
  anya::DriftMonitor monitor({{tensor}, 1.0}, 1, clock);
  std::uint64_t elements = 0;
  if (!shape.element_count(&elements)) return 0;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<std::vector<float>> tensors(kTensors, std::vector<float>(elements));
  for (auto& values : tensors) std::generate(values.begin(), values.end(), [&] { return normal(random); });
  const anya::DriftMonitor::Asker asker{1, shape[0]};
  const std::uint32_t index = 0;
  anya::OutputBuffer output;
  output.dtype = anya::DType::kFloat32;
  output.shape = shape;
  double least = 1e18;
  for (int sample = 0; sample < kSamples; ++sample) {
    const auto began = std::chrono::steady_clock::now();
    for (int call = 0; call < calls; ++call) {
      output.data = tensors[static_cast<std::size_t>(call) % kTensors].data();
      monitor.look(0, {{&asker, 1}, {}, {&output, 1}, {&index, 1}, 1000});
    }
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - began;
    least = std::min(least, took.count() / calls);
  }
  std::uint64_t counted = 0;
  const anya::DriftCounts counts = monitor.take();
  for (const std::uint64_t bin : counts.bins) counted += bin;
  const std::uint64_t expected = static_cast<std::uint64_t>(shape[0]) * tensor.features.size() * calls * kSamples;
  return counted == expected ? least : std::nan("");  // which is no JSON: the round fails
}

}  // namespace

int main() {
  DriftTensor embedding = watched(DriftKind::kEmbedding, 10);
  embedding.centroid.assign(768, 0.1F);
  DriftTensor image = watched(DriftKind::kDense, 10);
  image.channels = 3;
  std::printf("{\"value\": %f, \"lone row of 10 columns\": %f, \"embedding\": %f, \"image\": %f}\n",
              nanos(watched(DriftKind::kColumns, 1), Shape{4096, 1}, 4) / 4096,
              nanos(watched(DriftKind::kColumns, 10), Shape{1, 10}, 500), nanos(embedding, Shape{1, 768}, 50),
              nanos(image, Shape{1, 3, 224, 224}, 10));
  return 0;
}
