// SPDX-License-Identifier: Apache-2.0
#include "model/row_check.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>

#include "base/text.h"
#include "base/thread.h"
#include "model/batch_axis.h"
#include "model/sample_rows.h"

namespace anya {
namespace {

constexpr std::size_t kRows = 4;
constexpr std::array<std::size_t, kRows> kInOrder = {0, 1, 2, 3};
constexpr std::array<std::size_t, kRows> kShuffled = {2, 0, 3, 1};
// Sizes for free dimensions that are not rows. The small ones suit sequences, the others the images a network halves
// several times over. 1 suits what multiplies two dimensions together.
constexpr std::array<std::int64_t, 4> kFreeSizes = {8, 1, 64, 224};

bool is_integer_type(DType dtype) noexcept {
  switch (dtype) {
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32:
    case DType::kInt64:
    case DType::kUInt8:
    case DType::kUInt16:
    case DType::kUInt32:
    case DType::kUInt64:
      return true;
    default:
      return false;
  }
}

// Stops the run of `control` when the time is over. Its thread ends with it.
class Watch {
 public:
  Watch(RunControl& control, std::int64_t milliseconds)
      : thread_(start_thread("anya-warm-up", [this, &control, milliseconds] {
          std::unique_lock lock(mutex_);
          if (changed_.wait_for(lock, std::chrono::milliseconds(milliseconds), [this] { return done_; })) return;
          expired_ = true;
          control.terminate();
        })) {}
  ~Watch() {
    {
      const std::scoped_lock lock(mutex_);
      done_ = true;
    }
    changed_.notify_one();
  }
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  [[nodiscard]] bool expired() {
    const std::scoped_lock lock(mutex_);
    return expired_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  bool expired_ = false;
  std::jthread thread_;  // last: it uses the others
};

class Checker {
 public:
  Checker(Session& session, const RowCheckPlan& plan)
      : session_(session),
        plan_(plan),
        control_(session.make_run_control()),
        watch_(*control_, plan.max_milliseconds),
        all_outputs_(session.schema().outputs.size()) {
    std::iota(all_outputs_.begin(), all_outputs_.end(), 0U);
    for (const TensorSpec& output : session.schema().outputs) {
      check_.shapes_follow.push_back(shape_follows(output, plan.batch_axis));
    }
  }

  RowCheck run() {
    check_.rows_lead = plan_.batch_axis;
    warm_up();
    if (!check_.ran) {
      check_.rows_lead = false;
      check_.shapes_follow.assign(check_.shapes_follow.size(), false);  // nothing was seen, nothing is promised
    } else if (plan_.batch_axis) {
      company();
    }
    if (check_.ran && !rows_why_.empty()) check_.why = rows_why_;
    return std::move(check_);
  }

 private:
  using Outputs = std::vector<OutputBuffer>;

  // Runs the first row alone, with the first made-up rows that the model takes and answers with numbers.
  void warm_up() {
    const bool any_free = has_free_dimension();
    for (const std::int64_t size : kFreeSizes) {
      const auto rows = static_cast<std::int64_t>(kRows);
      if (SampleRows::bytes_needed(session_.schema(), plan_.batch_axis, rows, size) > plan_.max_bytes) {
        return fail("four rows would take more than " + std::to_string(plan_.max_bytes) + " bytes");
      }
      for (const Integers integers : integers_to_try()) {
        samples_ = std::make_unique<SampleRows>(session_.schema(), plan_.batch_axis, rows, size, integers);
        Outputs outputs;
        const Status status =
            plan_.batch_axis ? run_rows(std::span(kInOrder).first(1), &outputs) : run_samples(*samples_, 0, &outputs);
        if (watch_.expired()) return fail(failure_text(status));
        if (!status.ok()) {
          fail(failure_text(status));
          continue;
        }
        if (integers == Integers::kSmall && !suits_all_rows(outputs)) continue;
        alone_.push_back(std::move(outputs));
        check_.why.clear();
        check_.ran = true;
        return;
      }
      if (!any_free) return;
    }
  }

  // The first row ran; so must the others, for a table may have room for it alone. NaN is equal to NaN: an answer of
  // nothing else would pass every comparison.
  bool suits_all_rows(const Outputs& first) {
    if (std::any_of(first.begin(), first.end(), all_nan)) return false;
    Outputs outputs;
    return !plan_.batch_axis || run_rows(kInOrder, &outputs).ok();
  }

  // Small numbers only where an index outside its table is an error and not a read of other memory.
  [[nodiscard]] std::vector<Integers> integers_to_try() const {
    const auto is_integer = [](const TensorSpec& input) { return is_integer_type(input.dtype); };
    const std::vector<TensorSpec>& inputs = session_.schema().inputs;
    const bool useful = std::any_of(inputs.begin(), inputs.end(), is_integer);
    const std::vector<std::string>& providers = session_.providers();
    const bool on_cpu =
        std::all_of(providers.begin(), providers.end(), [](const auto& p) { return p == "CPUExecutionProvider"; });
    if (useful && on_cpu) return {Integers::kSmall, Integers::kBits};
    return {Integers::kBits};
  }

  // The other rows alone, then all together, twice.
  void company() {
    for (std::size_t row = 1; row < kRows && plan_.compare && check_.rows_lead; ++row) {
      Outputs outputs;
      const Status status = run_rows(std::span(kInOrder).subspan(row, 1), &outputs);
      if (!status.ok()) return fail("a row did not run alone: " + failure_text(status));
      alone_.push_back(std::move(outputs));
    }
    for (const auto& order : {kInOrder, kShuffled}) {
      Outputs together;
      const Status status = run_rows(order, &together);
      if (!status.ok()) {
        // Alone it ran: what it does with several rows is not known.
        check_.rows_lead = false;
        check_.shapes_follow.assign(check_.shapes_follow.size(), false);
        return fail("rows that ran alone did not run together: " + failure_text(status));
      }
      if (!check_.rows_lead) return;
      if (!plan_.compare) continue;
      for (std::size_t position = 0; position < kRows; ++position) {
        if (!same(alone_[order[position]], together, position)) return;
      }
    }
    check_.agrees = plan_.compare;
  }

  bool same(const Outputs& alone, const Outputs& together, std::size_t position) {
    for (std::size_t i = 0; i < alone.size(); ++i) {
      const std::string difference = row_difference(alone[i], together[i], position, plan_.tolerance);
      if (difference.empty()) continue;
      fail("output " + quoted(session_.schema().outputs[i].name) +
           " of a row depends on the other rows: " + difference);
      return false;
    }
    return true;
  }

  Status run_rows(std::span<const std::size_t> rows, Outputs* outputs) {
    return run_samples(samples_->pick(rows), static_cast<std::int64_t>(rows.size()), outputs);
  }

  Status run_samples(const SampleRows& samples, std::int64_t rows, Outputs* outputs) {
    outputs->assign(all_outputs_.size(), {});
    const std::vector<TensorSpec>& specs = session_.schema().outputs;
    for (std::size_t i = 0; i < specs.size(); ++i) (*outputs)[i].dtype = specs[i].dtype;
    const std::vector<TensorView> views = samples.views();
    Status status = session_.run(*control_, views, all_outputs_, *outputs);
    if (!status.ok()) return status;
    for (std::size_t i = 0; i < specs.size(); ++i) {
      const Shape& real = (*outputs)[i].shape;
      if (!(real == shape_for_rows(specs[i], plan_.batch_axis, rows))) check_.shapes_follow[i] = false;
      if (plan_.batch_axis && (real.rank() == 0 || real[0] != rows) && check_.rows_lead) {
        check_.rows_lead = false;
        rows_why_ = "output " + quoted(specs[i].name) + " has shape " + real.to_string() + " for " +
                    std::to_string(rows) + (rows == 1 ? " row" : " rows");
      }
    }
    return status;
  }

  [[nodiscard]] bool has_free_dimension() const {
    for (const TensorSpec& input : session_.schema().inputs) {
      for (std::size_t axis = plan_.batch_axis ? 1 : 0; axis < input.shape.rank(); ++axis) {
        if (input.shape[axis] < 0) return true;
      }
    }
    return false;
  }

  std::string failure_text(const Status& status) {
    if (watch_.expired()) return "it ran longer than " + std::to_string(plan_.max_milliseconds) + " ms";
    return describe(status, "").substr(0, 300);  // ONNX Runtime's texts can be pages
  }
  void fail(std::string why) {
    if (check_.why.empty()) check_.why = std::move(why);
  }

  Session& session_;
  const RowCheckPlan& plan_;
  const std::unique_ptr<RunControl> control_;
  Watch watch_;
  std::vector<std::uint32_t> all_outputs_;
  std::unique_ptr<SampleRows> samples_;
  std::vector<Outputs> alone_;  // per row
  RowCheck check_;
  std::string rows_why_;  // where rows_lead is false by what was seen
};

}  // namespace

RowCheck check_rows(Session& session, const RowCheckPlan& plan) { return Checker(session, plan).run(); }

}  // namespace anya
