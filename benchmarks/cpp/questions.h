// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "anya/session.h"

namespace anya::bench {

// Made-up rows for a model of one float32 input [N, width] and one float32 output [N, width], with the answer that a
// run of each row alone gives. Constant after construction, so thread-safe. Does not own the session.
class Questions {
 public:
  // Throws Error for a model of another kind, and when a run fails.
  Questions(Session& session, std::size_t count);

  [[nodiscard]] std::size_t size() const noexcept { return count_; }
  [[nodiscard]] std::size_t input_width() const noexcept { return input_width_; }
  [[nodiscard]] std::size_t output_width() const noexcept { return output_width_; }
  // The rows of `count` questions in a row, from `first` on.
  [[nodiscard]] std::span<const float> rows(std::size_t first, std::size_t count) const noexcept {
    return {rows_.data() + first * input_width_, count * input_width_};
  }
  [[nodiscard]] TensorView view(std::size_t first, std::size_t count) const noexcept;
  // Whether this is the answer to that question, within the tolerance of the load-time check.
  [[nodiscard]] bool is_answer(std::size_t question, std::span<const float> answer) const noexcept;
  // From now on every question expects the next one's answer: what a test of the checking itself needs.
  void spoil();

 private:
  std::size_t count_;
  std::size_t input_width_ = 0;
  std::size_t output_width_ = 0;
  std::vector<float> rows_;
  std::vector<float> answers_;
};

// One run of `rows` rows into `answers`. `control` is the caller's alone. Blocks for the run.
Status run_rows(Session& session, RunControl& control, const TensorView& rows, std::span<float> answers) noexcept;

}  // namespace anya::bench
