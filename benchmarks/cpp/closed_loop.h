// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "anya/session.h"
#include "contender.h"
#include "questions.h"

namespace anya::bench {

// What one round of one side came to.
struct Round {
  double items_per_second = 0;
  double p50_us = 0;  // of a request from asking to having the answer; of a run for the plain session
  double p99_us = 0;
  std::uint64_t answers = 0;
  std::uint64_t wrong = 0;  // or failed
};

// One thread, `in_flight` requests, each asked again as soon as its answer is there, until `seconds` are over; then
// what is in flight is waited for, and counts. Every answer is checked.
Round closed_loop(Contender& contender, const Questions& questions, std::size_t in_flight, double seconds);

// The ceiling: ready-made batches of `rows` rows, one after another on this thread. Every answer is checked.
Round plain_runs(Session& session, const Questions& questions, std::size_t rows, double seconds);

}  // namespace anya::bench
