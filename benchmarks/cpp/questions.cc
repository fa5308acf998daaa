// SPDX-License-Identifier: Apache-2.0
#include "questions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <random>

namespace anya::bench {
namespace {

constexpr float kRelative = 1e-3F;
constexpr float kAbsolute = 1e-5F;

std::size_t width_of(const std::vector<TensorSpec>& specs) {
  if (specs.size() != 1 || specs[0].dtype != DType::kFloat32 || specs[0].shape.rank() != 2 || specs[0].shape[1] < 1) {
    throw Error(ErrorCode::kModelInvalid, "the model must have one input and one output, each float32 [N, width]");
  }
  return static_cast<std::size_t>(specs[0].shape[1]);
}

}  // namespace

Questions::Questions(Session& session, std::size_t count)
    : count_(count),
      input_width_(width_of(session.schema().inputs)),
      output_width_(width_of(session.schema().outputs)),
      rows_(count * input_width_),
      answers_(count * output_width_) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (float& value : rows_) value = normal(random);
  const std::unique_ptr<RunControl> control = session.make_run_control();
  for (std::size_t i = 0; i < count; ++i) {
    const Status status =
        run_rows(session, *control, view(i, 1), std::span(answers_).subspan(i * output_width_, output_width_));
    if (!status.ok()) throw Error(status.code, describe(status, "the model", &session.schema()));
  }
}

TensorView Questions::view(std::size_t first, std::size_t count) const noexcept {
  const std::span<const float> data = rows(first, count);
  return {DType::kFloat32, Shape{static_cast<std::int64_t>(count), static_cast<std::int64_t>(input_width_)},
          data.data(), data.size_bytes()};
}

bool Questions::is_answer(std::size_t question, std::span<const float> answer) const noexcept {
  if (answer.size() != output_width_) return false;
  const float* const expected = answers_.data() + question * output_width_;
  for (std::size_t i = 0; i < output_width_; ++i) {
    // Written so that a NaN is no answer.
    if (!(std::abs(answer[i] - expected[i]) <= kAbsolute + kRelative * std::abs(expected[i]))) return false;
  }
  return true;
}

void Questions::spoil() {
  std::rotate(answers_.begin(), answers_.begin() + static_cast<std::ptrdiff_t>(output_width_), answers_.end());
}

Status run_rows(Session& session, RunControl& control, const TensorView& rows, std::span<float> answers) noexcept {
  const std::array<std::uint32_t, 1> wanted{0};
  const std::int64_t count = rows.shape[0];
  std::array<OutputBuffer, 1> output;
  output[0].dtype = DType::kFloat32;
  output[0].shape = {count, static_cast<std::int64_t>(answers.size()) / count};
  output[0].data = answers.data();
  output[0].bytes = answers.size_bytes();
  return session.run(control, {&rows, 1}, wanted, output);
}

}  // namespace anya::bench
