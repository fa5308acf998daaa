// SPDX-License-Identifier: Apache-2.0
#include "driver/recorder.h"

#include <algorithm>

namespace anya {

void Recorder::ended(const LoadRequest& request, const ModelSchema& schema, Nanos seen_at) noexcept {
  if (!request.measured) return;
  ++asked_;
  if (!request.status.ok()) return failed(request.status, seen_at);
  ++ok_;
  if (!request.is_well_formed(schema)) ++malformed_;
  last_seen_ = std::max(last_seen_, seen_at);
  latency_.add(seen_at - request.asked_at);
  queue_.add(request.started_at - request.accepted_at);
  compute_.add(request.ended_at - request.started_at);
  const std::int64_t rows = std::max<std::int64_t>(1, request.rows);
  const std::int64_t shared = std::max(rows, request.batch_rows);
  rows_ += static_cast<std::uint64_t>(rows);
  runs_ += static_cast<double>(rows) / static_cast<double>(shared);
  batch_rows_.add(shared);
}

void Recorder::refused(const Status& status, bool measured, Nanos seen_at) noexcept {
  if (!measured) return;
  ++asked_;
  failed(status, seen_at);
}

void Recorder::failed(const Status& status, Nanos seen_at) noexcept {
  ++errors_[static_cast<std::size_t>(status.code)];
  last_seen_ = std::max(last_seen_, seen_at);
  if (seen_at >= first_failed_) return;
  first_failed_ = seen_at;
  first_error_ = status;
}

void Recorder::merge(const Recorder& other) noexcept {
  asked_ += other.asked_;
  ok_ += other.ok_;
  for (std::size_t i = 0; i < errors_.size(); ++i) errors_[i] += other.errors_[i];
  malformed_ += other.malformed_;
  rows_ += other.rows_;
  runs_ += other.runs_;
  last_seen_ = std::max(last_seen_, other.last_seen_);
  if (other.first_failed_ < first_failed_) {
    first_failed_ = other.first_failed_;
    first_error_ = other.first_error_;
  }
  latency_.merge(other.latency_);
  queue_.merge(other.queue_);
  compute_.merge(other.compute_);
  lateness_.merge(other.lateness_);
  batch_rows_.merge(other.batch_rows_);
}

LoadReport Recorder::report(const Model& model, Nanos window) const {
  LoadReport report;
  report.asked = asked_;
  report.ok = ok_;
  report.errors = errors_;
  if (!first_error_.ok()) {
    report.first_error = describe(first_error_, model.info().name + ":" + model.info().version, &model.schema());
  }
  report.malformed = malformed_;
  report.rows = rows_;
  report.seconds = static_cast<double>(std::max<Nanos>(0, last_seen_ - window)) * 1e-9;
  if (report.seconds > 0) {
    report.requests_per_second = static_cast<double>(ok_) / report.seconds;
    report.rows_per_second = static_cast<double>(rows_) / report.seconds;
  }
  report.latency = latency_.spread(1e-9);
  report.queue = queue_.spread(1e-9);
  report.compute = compute_.spread(1e-9);
  report.lateness = lateness_.spread(1e-9);
  report.batch_rows = batch_rows_.spread(1);
  report.mean_run_rows = runs_ > 0 ? static_cast<double>(rows_) / runs_ : 0;
  return report;
}

}  // namespace anya
