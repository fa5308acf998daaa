// SPDX-License-Identifier: Apache-2.0
//
// Batched equals alone, tried on made-up rows at load; the first of these runs is the warm-up.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "anya/clock.h"
#include "anya/session.h"
#include "model/row_compare.h"

namespace anya {

struct RowCheckPlan {
  bool batch_axis = false;  // what the schema says
  bool compare = true;      // false: run and look at shapes only (the answer is known already, or random)
  Tolerance tolerance;
  std::uint64_t max_bytes = std::uint64_t{256} << 20;  // of made-up input in one run
  std::int64_t max_milliseconds = 30'000;              // for all runs together; then the model is terminated
  // The second look, at as many rows as batches will have. It ends early where these do not suffice.
  std::int64_t max_rows = 4;
  std::uint64_t max_wide_bytes = std::uint64_t{64} << 20;  // of inputs and outputs in one run
  Nanos wide_budget = 500'000'000;                         // about, one run longer at worst
};

struct RowCheck {
  bool ran = false;                 // one row alone ran
  bool rows_lead = false;           // every output of every run had as many rows as the input
  bool agrees = false;              // every row gave the same answer alone, in company, and in company in other orders
  bool repeats = true;              // false: one row, asked again alone, was answered differently
  std::string why;                  // where `ran`, `rows_lead` or `agrees` is false
  std::vector<bool> shapes_follow;  // per output: its shape was what the schema and the rows say, in every run
  std::int64_t rows_together = 0;   // in the largest run that was compared
  std::string why_no_more;          // where that is less than the plan's max_rows
};

// Runs the session, several times. Blocks; never throws for what the model does. Uses a thread to stop an endless run.
RowCheck check_rows(Session& session, const RowCheckPlan& plan, const Clock& clock);

}  // namespace anya
