// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include "anya/load_driver.h"
#include "driver/load_request.h"
#include "driver/log_histogram.h"

namespace anya {

// What one thread of the driver has seen. Fixed size: nothing is allocated while it measures. Not thread-safe.
class Recorder {
 public:
  // The outcome of a request; `seen_at`: when who asked knew. Requests of the warm-up are passed over.
  void ended(const LoadRequest& request, const ModelSchema& schema, Nanos seen_at) noexcept;
  // A request that never became one: refused at the door.
  void refused(const Status& status, bool measured, Nanos seen_at) noexcept;
  void late(Nanos by) noexcept { lateness_.add(by); }
  void merge(const Recorder& other) noexcept;

  // Everything but what only the modes know. `window`: when the measured time began.
  [[nodiscard]] LoadReport report(const Model& model, Nanos window) const;

 private:
  void failed(const Status& status, Nanos seen_at) noexcept;

  std::uint64_t asked_ = 0;
  std::uint64_t ok_ = 0;
  std::array<std::uint64_t, kErrorCodeCount> errors_{};
  std::uint64_t malformed_ = 0;
  std::uint64_t rows_ = 0;
  double runs_ = 0;  // each request is its rows' share of a run
  Nanos last_seen_ = 0;
  Nanos first_failed_ = kNever;
  Status first_error_;
  LogHistogram latency_;
  LogHistogram queue_;
  LogHistogram compute_;
  LogHistogram lateness_;
  LogHistogram batch_rows_;
};

}  // namespace anya
