// SPDX-License-Identifier: Apache-2.0
//
// Runs on made-up rows at load, under one time limit, and what was seen of the shapes of their answers.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "anya/clock.h"
#include "anya/session.h"
#include "model/sample_rows.h"

namespace anya {

// Terminates the runs of `control`, the one in progress and all later ones, when the time is over. Its thread ends with
// it. Thread-safe. Destruction does not wait for the time to pass.
class RunWatch {
 public:
  RunWatch(RunControl& control, std::int64_t milliseconds);
  ~RunWatch();
  RunWatch(const RunWatch&) = delete;
  RunWatch& operator=(const RunWatch&) = delete;

  [[nodiscard]] bool expired();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  bool expired_ = false;
  std::jthread thread_;  // last: it uses the others
};

// One load's runs. For one thread; run() blocks. The session and the clock outlive it.
class MadeUpRuns {
 public:
  using Outputs = std::vector<OutputBuffer>;

  MadeUpRuns(Session& session, bool batch_axis, std::int64_t max_milliseconds, const Clock& clock);

  // All outputs of one run, in memory of the session's. `rows`: how many the samples have (no matter without a batch
  // axis).
  Status run(const SampleRows& samples, std::int64_t rows, Outputs* outputs);

  [[nodiscard]] Session& session() const noexcept { return session_; }
  [[nodiscard]] bool batch_axis() const noexcept { return batch_axis_; }
  [[nodiscard]] bool expired() { return watch_.expired(); }
  [[nodiscard]] Nanos last_took() const noexcept { return last_took_; }  // the last run
  // Every output of every good run had as many rows as the input; `rows_why`: or which had not.
  [[nodiscard]] bool rows_lead() const noexcept { return rows_lead_; }
  [[nodiscard]] const std::string& rows_why() const noexcept { return rows_why_; }
  // Per output: its shape was what the schema and the rows say, in every good run.
  [[nodiscard]] const std::vector<bool>& shapes_follow() const noexcept { return shapes_follow_; }
  // Why a run failed, for people.
  [[nodiscard]] std::string failure_text(const Status& status);

 private:
  Session& session_;
  const bool batch_axis_;
  const std::int64_t max_milliseconds_;
  const Clock& clock_;
  const std::unique_ptr<RunControl> control_;
  std::vector<std::uint32_t> all_outputs_;
  std::vector<bool> shapes_follow_;
  bool rows_lead_;
  std::string rows_why_;
  Nanos last_took_ = 0;
  RunWatch watch_;  // last: it stops before what it watches goes
};

}  // namespace anya
