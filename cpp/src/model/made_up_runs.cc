// SPDX-License-Identifier: Apache-2.0
#include "model/made_up_runs.h"

#include <chrono>
#include <numeric>

#include "base/text.h"
#include "base/thread.h"
#include "model/batch_axis.h"

namespace anya {

RunWatch::RunWatch(RunControl& control, std::int64_t milliseconds)
    : thread_(start_thread("anya-warm-up", [this, &control, milliseconds] {
        std::unique_lock lock(mutex_);
        if (changed_.wait_for(lock, std::chrono::milliseconds(milliseconds), [this] { return done_; })) return;
        expired_ = true;
        control.terminate();
      })) {}

RunWatch::~RunWatch() {
  {
    const std::scoped_lock lock(mutex_);
    done_ = true;
  }
  changed_.notify_one();
}

bool RunWatch::expired() {
  const std::scoped_lock lock(mutex_);
  return expired_;
}

MadeUpRuns::MadeUpRuns(Session& session, bool batch_axis, std::int64_t max_milliseconds, const Clock& clock)
    : session_(session),
      batch_axis_(batch_axis),
      max_milliseconds_(max_milliseconds),
      clock_(clock),
      control_(session.make_run_control()),
      all_outputs_(session.schema().outputs.size()),
      rows_lead_(batch_axis),
      watch_(*control_, max_milliseconds) {
  std::iota(all_outputs_.begin(), all_outputs_.end(), 0U);
  for (const TensorSpec& output : session.schema().outputs) {
    shapes_follow_.push_back(anya::shape_follows(output, batch_axis));
  }
}

Status MadeUpRuns::run(const SampleRows& samples, std::int64_t rows, Outputs* outputs) {
  outputs->assign(all_outputs_.size(), {});
  const std::vector<TensorSpec>& specs = session_.schema().outputs;
  for (std::size_t i = 0; i < specs.size(); ++i) (*outputs)[i].dtype = specs[i].dtype;
  const std::vector<TensorView> views = samples.views();
  const Nanos before = clock_.now();
  Status status = session_.run(*control_, views, all_outputs_, *outputs);
  last_took_ = clock_.now() - before;
  if (!status.ok()) return status;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const Shape& real = (*outputs)[i].shape;
    if (!(real == shape_for_rows(specs[i], batch_axis_, rows))) shapes_follow_[i] = false;
    if (batch_axis_ && (real.rank() == 0 || real[0] != rows) && rows_lead_) {
      rows_lead_ = false;
      rows_why_ = "output " + quoted(specs[i].name) + " has shape " + real.to_string() + " for " +
                  std::to_string(rows) + (rows == 1 ? " row" : " rows");
    }
  }
  return status;
}

std::string MadeUpRuns::failure_text(const Status& status) {
  if (expired()) return "it ran longer than " + std::to_string(max_milliseconds_) + " ms";
  return describe(status, "").substr(0, 300);  // ONNX Runtime's texts can be pages
}

}  // namespace anya
