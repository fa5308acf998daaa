// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "model/made_up_runs.h"
#include "model/row_compare.h"
#include "model/sample_rows.h"

namespace anya {

// Made-up rows, the answers that each has alone, and whether it has the same in company. For one thread; every function
// but why() runs the session and blocks for it. The runs outlive it.
class Company {
 public:
  using Outputs = MadeUpRuns::Outputs;
  enum class Look : std::uint8_t { kSame, kDifferent, kFailed, kNoMemory };

  Company(MadeUpRuns& runs, const Tolerance& tolerance);

  // Where the rows come from; what is known of earlier ones stays. REQUIRES: `samples` outlives their use, and has the
  // rows of the samples before it, and perhaps more.
  void use(const SampleRows& samples) noexcept { samples_ = &samples; }

  // Runs one row alone and keeps its answer, which is what it must have in company.
  Status ask_alone(std::size_t row);
  // The same for a row that the check can do without: one that does not run, or is answered without one finite number,
  // so that it could prove nothing, is replaced by row 0 from now on.
  void ask_outsized(std::size_t row);
  // Whether row 0, asked again alone, is answered as before.
  bool repeats();

  // These rows in one run, in this order. kDifferent: one was answered otherwise than alone, or (whatever `compare`)
  // their answers are no rows. `why()` says what is wrong.
  Look look_at(std::span<const std::size_t> order, bool compare);

  [[nodiscard]] const Outputs& alone(std::size_t row) const noexcept { return alone_[row]; }
  [[nodiscard]] const std::string& why() const noexcept { return why_; }
  [[nodiscard]] std::uint64_t answer_bytes() const noexcept { return answer_bytes_; }  // of row 0 alone

 private:
  bool same(std::size_t row, const Outputs& together, std::size_t place);
  Status run(std::span<const std::size_t> rows, Outputs* outputs);

  MadeUpRuns& runs_;
  const Tolerance tolerance_;
  const SampleRows* samples_ = nullptr;
  std::array<Outputs, SampleRows::kKinds> alone_;             // per row
  std::array<std::size_t, SampleRows::kKinds> instead_of_{};  // per row: itself, or 0
  std::uint64_t answer_bytes_ = 0;
  std::string why_;
};

}  // namespace anya
