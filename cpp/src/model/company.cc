// SPDX-License-Identifier: Apache-2.0
#include "model/company.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "base/text.h"

namespace anya {

Company::Company(MadeUpRuns& runs, const Tolerance& tolerance) : runs_(runs), tolerance_(tolerance) {
  std::iota(instead_of_.begin(), instead_of_.end(), std::size_t{0});
}

Status Company::run(std::span<const std::size_t> rows, Outputs* outputs) {
  return runs_.run(samples_->pick(rows), static_cast<std::int64_t>(rows.size()), outputs);
}

Status Company::ask_alone(std::size_t row) {
  Outputs outputs;
  const std::size_t only[] = {row};
  Status status = run(only, &outputs);
  if (!status.ok()) return status;
  if (row == 0) {
    answer_bytes_ = std::accumulate(outputs.begin(), outputs.end(), std::uint64_t{0},
                                    [](std::uint64_t sum, const OutputBuffer& one) { return sum + one.bytes; });
  }
  alone_[row] = std::move(outputs);
  return status;
}

void Company::ask_outsized(std::size_t row) {
  const bool ran = ask_alone(row).ok();
  if (!ran || std::any_of(alone_[row].begin(), alone_[row].end(), nothing_finite)) instead_of_[row] = 0;
}

bool Company::repeats() {
  Outputs again;
  const std::size_t first[] = {0};
  if (run(first, &again).ok() && same(0, again, 0)) return true;
  why_ = "the same row, asked again, is answered differently";
  return false;
}

Company::Look Company::look_at(std::span<const std::size_t> order, bool compare) {
  std::vector<std::size_t> rows(order.size());
  std::ranges::transform(order, rows.begin(), [this](std::size_t row) { return instead_of_[row]; });
  Outputs together;
  const Status status = run(rows, &together);
  if (!status.ok()) {
    // Alone they ran: what the model does with several rows is not known.
    why_ = "rows that ran alone did not run together: " + runs_.failure_text(status);
    return status.code == ErrorCode::kOutOfMemory ? Look::kNoMemory : Look::kFailed;
  }
  if (!runs_.rows_lead()) {
    why_ = runs_.rows_why();
    return Look::kDifferent;
  }
  for (std::size_t place = 0; place < rows.size() && compare; ++place) {
    if (!same(rows[place], together, place)) return Look::kDifferent;
  }
  return Look::kSame;
}

bool Company::same(std::size_t row, const Outputs& together, std::size_t place) {
  // Sums of larger numbers round to larger errors, also where they cancel out.
  const Tolerance tolerance{tolerance_.rtol, tolerance_.atol * static_cast<double>(SampleRows::magnitude(row))};
  for (std::size_t i = 0; i < together.size(); ++i) {
    const std::string difference = row_difference(alone_[row][i], together[i], place, tolerance);
    if (difference.empty()) continue;
    why_ = "output " + quoted(runs_.session().schema().outputs[i].name) +
           " of a row depends on the other rows: " + difference;
    return false;
  }
  return true;
}

}  // namespace anya
