// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "anya/clock.h"
#include "anya/session.h"

namespace anya {

struct MeasuredRun {
  std::int64_t rows = 0;
  Nanos duration = 0;
};

// How long runs of 1, 2, 4 … `max_rows` made-up rows take, the best of three each where that is quick, as far as
// `budget` reaches; what would not fit is left out. Empty for a model whose shapes are not fixed beyond the rows: its
// cost depends on more than those. Blocks for about the budget at most, one run longer at worst; never throws for what
// the model does. REQUIRES: the model has a batch axis.
std::vector<MeasuredRun> measure_run_times(Session& session, std::int64_t max_rows, Nanos budget, const Clock& clock);

}  // namespace anya
