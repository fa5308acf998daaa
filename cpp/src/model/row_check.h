// SPDX-License-Identifier: Apache-2.0
//
// Batched equals alone, tried on made-up rows at load; the first of these runs is the warm-up.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "anya/session.h"
#include "model/row_compare.h"

namespace anya {

struct RowCheckPlan {
  bool batch_axis = false;  // what the schema says
  bool compare = true;      // false: run and look at shapes only (the answer is known already, or random)
  Tolerance tolerance;
  std::uint64_t max_bytes = std::uint64_t{256} << 20;  // of made-up input in one run
  std::int64_t max_milliseconds = 30'000;              // for all runs together; then the model is terminated
};

struct RowCheck {
  bool ran = false;                 // one row alone ran
  bool rows_lead = false;           // every output of every run had as many rows as the input
  bool agrees = false;              // every row gave the same answer alone, in company, and in company in another order
  std::string why;                  // where `ran`, `rows_lead` or `agrees` is false
  std::vector<bool> shapes_follow;  // per output: its shape was what the schema and the rows say, in every run
};

// Runs the session, several times. Blocks; never throws for what the model does. Uses a thread to stop an endless run.
RowCheck check_rows(Session& session, const RowCheckPlan& plan);

}  // namespace anya
