// SPDX-License-Identifier: Apache-2.0
//
// Asks one model on a plan and tells how it answered: what the command line's bench stands on.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "anya/model.h"

namespace anya {

enum class LoadMode : std::uint8_t {
  kClosed,    // `concurrency` requests in flight, asked and answered through one thread, as an event loop would
  kBlocking,  // `concurrency` threads, each asks and waits
  kOpen,      // requests leave on a schedule of `rate`, whatever has become of those before
};
enum class Arrivals : std::uint8_t { kPoisson, kConstant };

struct LoadPlan {
  // Each the inputs of one request, in schema order; asked in turn. The memory behind them is borrowed for the call.
  std::vector<std::vector<TensorView>> questions;
  LoadMode mode = LoadMode::kClosed;
  int concurrency = 64;                    // kClosed, kBlocking; the latter takes kMaxCallers at most
  double rate = 0;                         // kOpen: requests per second
  Arrivals arrivals = Arrivals::kPoisson;  // kOpen
  std::uint64_t seed = 1;                  // kOpen: of the gaps
  Nanos warm_up = 0;                       // asked before the measured window, not reported
  Nanos duration = 1'000'000'000;          // of the measured window
};
inline constexpr int kMaxInFlight = 1 << 16;
inline constexpr int kMaxCallers = 1024;
inline constexpr double kMaxRate = 1e6;

// Seconds, or rows for LoadReport::batch_rows. The percentiles come from a histogram: within 2 % of the exact ones.
struct LoadSpread {
  std::uint64_t count = 0;
  double mean = 0;
  double min = 0;
  double p50 = 0;
  double p90 = 0;
  double p95 = 0;
  double p99 = 0;
  double p999 = 0;
  double max = 0;
};

// About the requests asked in the measured window; each is in exactly one of `ok` and `errors`.
struct LoadReport {
  std::uint64_t asked = 0;
  std::uint64_t ok = 0;
  std::array<std::uint64_t, kErrorCodeCount> errors{};  // refusals at the door included; index kOk stays 0
  std::string first_error;                              // in words; "" when there was none
  std::uint64_t malformed = 0;  // good answers whose tensors are not what the schema says; among `ok`; 0 or it is a bug
  std::uint64_t unsent = 0;     // kOpen: due, but the driver could not keep up
  std::uint64_t rows = 0;       // of the good answers
  double seconds = 0;           // from the start of the window to the last of its answers
  double requests_per_second = 0;
  double rows_per_second = 0;
  std::uint64_t peak_in_flight = 0;
  bool stopped = false;      // by LoadControl, before its time
  LoadSpread latency;        // good answers: from when it was asked (kOpen: due) to when the asker knew
  LoadSpread queue;          // good answers: from acceptance to the start of the run
  LoadSpread compute;        // good answers: of the run
  LoadSpread lateness;       // kOpen: from when a request was due to when it left
  LoadSpread batch_rows;     // rows in the run, as the requests saw it
  double mean_run_rows = 0;  // rows per run
};

// A view into a drive that is under way. Thread-safe.
struct LoadControl {
  std::atomic<bool> stop{false};        // ask no more, drain, report
  std::atomic<std::uint64_t> ended{0};  // answers so far, those of the warm-up included
};

// Blocks for warm-up, duration and drain. Throws Error: kConfigError for a plan that cannot be, what admission says for
// a question that does not fit, kUnavailable when threads or descriptors cannot be had; nothing is in flight then.
// REQUIRES: the model's clock goes on by itself, and nobody else uses the memory of the questions.
LoadReport drive(Model& model, const LoadPlan& plan, LoadControl* control = nullptr);

}  // namespace anya
