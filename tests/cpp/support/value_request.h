// SPDX-License-Identifier: Apache-2.0
//
// A request with memory of its own, for the fake model y = 2x + 1 on rows of two floats.
#pragma once

#include <atomic>
#include <cmath>
#include <vector>

#include "anya/request.h"
#include "support/fake_session.h"

namespace anya::test {

// A value that makes the fake model fail the whole run it is in.
inline constexpr float kPoison = -666.0F;
inline constexpr std::int64_t kWidth = 2;

// Counts what comes back. Thread-safe.
class CountingOwner final : public RequestOwner {
 public:
  void reclaim(Request*) noexcept override { reclaimed_.fetch_add(1); }
  [[nodiscard]] int reclaimed() const noexcept { return reclaimed_.load(); }
  void reset() noexcept { reclaimed_.store(0); }

 private:
  std::atomic<int> reclaimed_{0};
};

class ValueRequest : public Request {
 public:
  enum class Output : std::uint8_t { kGiven, kMadeByRun };

  ValueRequest(RequestOwner& owner, std::int64_t row_count, float first, Output output = Output::kGiven)
      : Request(owner) {
    fill(row_count, first, output);
  }

  // What a binding and the admission would have done.
  void fill(std::int64_t row_count, float first, Output output = Output::kGiven) {
    const auto count = static_cast<std::size_t>(row_count * kWidth);
    x_.resize(count);
    for (std::size_t i = 0; i < count; ++i) x_[i] = first + static_cast<float>(i);
    y_.assign(count, NAN);
    const std::size_t bytes = count * sizeof(float);
    inputs.assign(1, TensorView{DType::kFloat32, {row_count, kWidth}, x_.data(), bytes});
    output_indices.assign(1, 0);
    outputs.assign(1, OutputBuffer{});
    if (output == Output::kGiven) outputs[0] = {DType::kFloat32, {row_count, kWidth}, y_.data(), bytes, nullptr};
    rows = row_count;
  }
  void poison() { x_.front() = kPoison; }

  // The answer is there, in the memory that was given if there was some, and it is this request's own.
  [[nodiscard]] bool is_right() const {
    if (!status.ok() || outputs.size() != 1) return false;
    const OutputBuffer& output = outputs[0];
    if (output.data == nullptr || output.bytes != x_.size() * sizeof(float)) return false;
    if (output.owner == nullptr && output.data != y_.data()) return false;
    if (!(output.shape == Shape{rows, kWidth}) || output.dtype != DType::kFloat32) return false;
    const auto* y = static_cast<const float*>(output.data);
    for (std::size_t i = 0; i < x_.size(); ++i) {
      if (y[i] != 2 * x_[i] + 1) return false;
    }
    return true;
  }
  [[nodiscard]] const void* given_memory() const { return y_.data(); }

 private:
  std::vector<float> x_;
  std::vector<float> y_;
};

inline ModelSchema value_schema() {
  return {{spec("x", DType::kFloat32, {-1, kWidth})}, {spec("y", DType::kFloat32, {-1, kWidth})}};
}

inline Status value_model(std::span<const TensorView> inputs, std::span<OutputBuffer> outputs) {
  const auto* x = static_cast<const float*>(inputs[0].data);
  std::vector<float> y(inputs[0].bytes / sizeof(float));
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (x[i] == kPoison) return Status::with_text(ErrorCode::kExecutionError, "poison");
    y[i] = 2 * x[i] + 1;
  }
  return outputs.empty() ? Status{} : give_output(outputs[0], DType::kFloat32, inputs[0].shape, y.data());
}

}  // namespace anya::test
