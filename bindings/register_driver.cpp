// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "anya/load_driver.h"
#include "bindings.h"
#include "py_model.h"

namespace anya::python {
namespace {

constexpr std::chrono::milliseconds kGlance(100);  // how often signals and progress are looked after

// The questions as Python gave them, parsed, admitted and held for the length of a drive. GIL held at both ends.
class HeldQuestions {
 public:
  HeldQuestions(const py::object& self, PyModel& model, const py::typing::List<py::object>& questions) : model_(model) {
    try {
      for (const py::handle question : questions) {
        PyObject* const arguments[kCallArguments] = {question.ptr(), Py_None, Py_None, Py_None, Py_None, Py_None};
        PyRequest* const request = make_request(self.ptr(), model_, arguments, Inputs::kBorrow, Model::Caching::kUse);
        if (request == nullptr) throw py::error_already_set();
        held_.push_back(request);
      }
    } catch (...) {
      let_go();
      throw;
    }
  }
  ~HeldQuestions() { let_go(); }
  HeldQuestions(const HeldQuestions&) = delete;
  HeldQuestions& operator=(const HeldQuestions&) = delete;

  [[nodiscard]] std::vector<std::vector<TensorView>> views() const {
    std::vector<std::vector<TensorView>> views;
    for (const PyRequest* request : held_) views.push_back(request->inputs);
    return views;
  }

 private:
  void let_go() noexcept {
    for (PyRequest* request : held_) model_.pool.put(request);
    held_.clear();
  }

  PyModel& model_;
  std::vector<PyRequest*> held_;
};

py::typing::Dict<py::str, py::object> spread_of(const LoadSpread& spread) {
  py::typing::Dict<py::str, py::object> out;
  out["count"] = spread.count;
  out["mean"] = spread.mean;
  out["min"] = spread.min;
  out["p50"] = spread.p50;
  out["p90"] = spread.p90;
  out["p95"] = spread.p95;
  out["p99"] = spread.p99;
  out["p999"] = spread.p999;
  out["max"] = spread.max;
  return out;
}

py::typing::Dict<py::str, py::object> report_of(const LoadReport& report) {
  py::dict errors;
  for (std::size_t i = 1; i < report.errors.size(); ++i) {
    if (report.errors[i] == 0) continue;
    const std::string_view name = code_name(static_cast<ErrorCode>(i));
    errors[py::str(name.data(), name.size())] = report.errors[i];
  }
  py::typing::Dict<py::str, py::object> out;
  out["asked"] = report.asked;
  out["ok"] = report.ok;
  out["errors"] = errors;
  out["first_error"] = report.first_error;
  out["malformed"] = report.malformed;
  out["unsent"] = report.unsent;
  out["rows"] = report.rows;
  out["seconds"] = report.seconds;
  out["requests_per_second"] = report.requests_per_second;
  out["rows_per_second"] = report.rows_per_second;
  out["peak_in_flight"] = report.peak_in_flight;
  out["stopped"] = report.stopped;
  out["latency"] = spread_of(report.latency);
  out["queue"] = spread_of(report.queue);
  out["compute"] = spread_of(report.compute);
  out["lateness"] = spread_of(report.lateness);
  out["batch_rows"] = spread_of(report.batch_rows);
  out["mean_run_rows"] = report.mean_run_rows;
  return out;
}

// Drives on a thread of its own; this one looks after signals and progress, and is the only one to touch the GIL.
LoadReport drive_apart(Model& model, const LoadPlan& plan, const py::object& progress) {
  LoadControl control;
  LoadReport report;
  std::exception_ptr failure;
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  std::jthread driver([&] {
    try {
      report = drive(model, plan, &control);
    } catch (...) {
      failure = std::current_exception();
    }
    const std::lock_guard lock(mutex);
    done = true;
    changed.notify_one();
  });
  const auto wait = [&](bool to_the_end) {
    py::gil_scoped_release release;
    std::unique_lock lock(mutex);
    const auto is_done = [&] { return done; };
    if (!to_the_end) return changed.wait_for(lock, kGlance, is_done);
    changed.wait(lock, is_done);
    return true;
  };
  try {
    while (!wait(false)) {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      if (!progress.is_none()) progress(control.ended.load(std::memory_order_relaxed));
    }
  } catch (...) {
    control.stop.store(true);
    wait(true);
    throw;
  }
  wait(true);
  if (failure) std::rethrow_exception(failure);
  return report;
}

LoadMode mode_of(const std::string& name) {
  if (name == "closed") return LoadMode::kClosed;
  if (name == "blocking") return LoadMode::kBlocking;
  if (name == "open") return LoadMode::kOpen;
  throw Error(ErrorCode::kConfigError, "mode: takes 'closed', 'blocking' or 'open'");
}

Arrivals arrivals_of(const std::string& name) {
  if (name == "poisson") return Arrivals::kPoisson;
  if (name == "constant") return Arrivals::kConstant;
  throw Error(ErrorCode::kConfigError, "arrivals: takes 'poisson' or 'constant'");
}

Nanos nanos_of(const char* field, double seconds) {
  if (!(seconds >= 0 && seconds <= 1e9)) {
    throw Error(ErrorCode::kConfigError, std::string(field) + ": takes seconds from 0 to 1e9");
  }
  return static_cast<Nanos>(seconds * 1e9);
}

py::typing::Dict<py::str, py::object> drive_model(const py::object& self, const py::typing::List<py::object>& questions,
                                                  const std::string& mode, int concurrency, double rate,
                                                  const std::string& arrivals, std::uint64_t seed, double warm_up,
                                                  double duration, const py::object& progress) {
  PyModel& model = self.cast<PyModel&>();
  LoadPlan plan;
  plan.mode = mode_of(mode);
  plan.concurrency = concurrency;
  plan.rate = rate;
  plan.arrivals = arrivals_of(arrivals);
  plan.seed = seed;
  plan.warm_up = nanos_of("warm_up", warm_up);
  plan.duration = nanos_of("duration", duration);
  const HeldQuestions held(self, model, questions);
  plan.questions = held.views();
  return report_of(drive_apart(*model.model, plan, progress));
}

}  // namespace

void register_driver(py::module_& module) {
  module.def("drive", &drive_model, py::arg("model"), py::arg("questions"), py::kw_only(), py::arg("mode") = "closed",
             py::arg("concurrency") = 64, py::arg("rate") = 0.0, py::arg("arrivals") = "poisson", py::arg("seed") = 1,
             py::arg("warm_up") = 0.0, py::arg("duration") = 1.0, py::arg("progress") = py::none(),
             "Asks a model on a plan, on C++ threads, and returns the report as a dict. Blocks with the GIL released; "
             "`progress` is called now and then with the number of answers so far.");
}

}  // namespace anya::python
