// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "anya/clock.h"

namespace anya::bench {

// One of the requests that a closed loop keeps in flight. The loop's before it is asked and after it is collected, the
// contender's in between.
struct Ask {
  std::size_t question = 0;
  Nanos asked_at = 0;
  std::vector<float> answer;  // of the output's width; empty after a failure
};

// A batcher as its one client thread sees it. Used by that thread alone.
class Contender {
 public:
  Contender() = default;
  Contender(const Contender&) = delete;
  Contender& operator=(const Contender&) = delete;
  virtual ~Contender() = default;

  // Hands these in; does not wait for answers.
  virtual void ask(std::span<Ask* const> asks) = 0;
  // Blocks until there are answers, and appends who has one. REQUIRES: something is in flight.
  virtual void collect(std::vector<Ask*>& ended) = 0;
};

}  // namespace anya::bench
