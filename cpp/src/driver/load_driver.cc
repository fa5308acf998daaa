// SPDX-License-Identifier: Apache-2.0
#include "anya/load_driver.h"

#include <chrono>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "base/thread.h"
#include "driver/queue_driver.h"

namespace anya {
namespace {

void check_plan(const LoadPlan& plan) {
  const auto refuse = [](const std::string& sentence) { throw Error(ErrorCode::kConfigError, sentence); };
  const int most = plan.mode == LoadMode::kBlocking ? kMaxCallers : kMaxInFlight;
  if (plan.questions.empty()) refuse("questions: a load needs at least one");
  if (plan.mode != LoadMode::kOpen && (plan.concurrency < 1 || plan.concurrency > most)) {
    refuse("concurrency: takes 1 to " + std::to_string(most) + ", got " + std::to_string(plan.concurrency));
  }
  if (plan.mode == LoadMode::kOpen && !(plan.rate > 0 && plan.rate <= kMaxRate)) {
    refuse("rate: takes more than 0 and at most 1e6 requests per second, got " + std::to_string(plan.rate));
  }
  constexpr Nanos kLongest = Nanos{1} << 60;
  if (plan.warm_up < 0 || plan.warm_up > kLongest) refuse("warm_up: must not be negative, nor longer than 36 years");
  if (plan.duration <= 0 || plan.duration > kLongest) refuse("duration: must be above 0, and no longer than 36 years");
}

// What does not fit is said now, in admission's words, instead of once per request.
void check_questions(Model& model, const LoadPlan& plan) {
  LoadPool pool;
  for (const std::vector<TensorView>& question : plan.questions) {
    if (question.size() != model.schema().inputs.size()) {
      throw Error(ErrorCode::kInvalidInput, "a question has " + std::to_string(question.size()) +
                                                " inputs, the model takes " +
                                                std::to_string(model.schema().inputs.size()));
    }
    LoadRequest* const request = pool.get();
    const Status status = request->prepare(model, question);
    request->release();
    if (!status.ok()) {
      throw Error(status.code, describe(status, model.info().name + ":" + model.info().version, &model.schema()));
    }
  }
}

// One blocking caller: asks, waits, asks again.
struct Caller {
  Recorder recorder;
  LoadPool pool;

  void run(Model& model, const LoadPlan& plan, LoadControl& control, std::size_t first, Nanos window, Nanos end);
};

void Caller::run(Model& model, const LoadPlan& plan, LoadControl& control, std::size_t first, Nanos window, Nanos end) {
  for (std::size_t next = first; !control.stop.load(std::memory_order_relaxed); ++next) {
    const Nanos asked_at = model.now();
    if (asked_at >= end) return;
    const bool measured = asked_at >= window;
    LoadRequest* const request = pool.get();
    request->asked_at = asked_at;
    request->measured = measured;
    Status refusal = request->prepare(model, plan.questions[next % plan.questions.size()]);
    bool accepted = refusal.ok();
    if (accepted && !model.run_here(*request)) {
      Request* only = request;
      accepted = model.enqueue({&only, 1}, /*watch_deadlines=*/false, refusal) == 1;
      while (accepted && request->wait(kNever) != Request::Wait::kEnded) {
      }
    }
    if (accepted) {
      recorder.ended(*request, model.schema(), model.now());
      control.ended.fetch_add(1, std::memory_order_relaxed);
    } else {
      recorder.refused(refusal, measured, model.now());
    }
    request->release();
    if (!accepted && refusal.code == ErrorCode::kUnavailable) return;
    if (!accepted) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

LoadReport drive_callers(Model& model, const LoadPlan& plan, LoadControl& control) {
  const Nanos window = model.now() + plan.warm_up;
  const Nanos end = window + plan.duration;
  const auto count = static_cast<std::size_t>(plan.concurrency);
  std::vector<std::unique_ptr<Caller>> callers;
  callers.reserve(count);
  for (std::size_t i = 0; i < count; ++i) callers.push_back(std::make_unique<Caller>());
  {
    std::vector<std::jthread> threads;
    threads.reserve(count);
    try {
      for (std::size_t i = 0; i < count; ++i) {
        threads.push_back(start_thread("anya-caller", [&, i, caller = callers[i].get()] {
          try {
            caller->run(model, plan, control, i, window, end);
          } catch (const std::bad_alloc&) {
            caller->recorder.refused(Status::failure(ErrorCode::kOutOfMemory, Reason::kNone), true, model.now());
          }
        }));
      }
    } catch (...) {
      control.stop.store(true);  // those that run must not wait for the end of the window
      throw;
    }
  }
  Recorder& all = callers.front()->recorder;
  for (std::size_t i = 1; i < count; ++i) all.merge(callers[i]->recorder);
  LoadReport report = all.report(model, window);
  report.peak_in_flight = count;
  report.stopped = control.stop.load() || model.now() < end;
  return report;
}

}  // namespace

LoadReport drive(Model& model, const LoadPlan& plan, LoadControl* control) {
  check_plan(plan);
  check_questions(model, plan);
  LoadControl own;
  LoadControl& chosen = control == nullptr ? own : *control;
  if (plan.mode == LoadMode::kBlocking) return drive_callers(model, plan, chosen);
  const auto driver = std::make_unique<QueueDriver>(model, plan, chosen);  // too large for a small stack
  return plan.mode == LoadMode::kOpen ? driver->open_loop() : driver->closed_loop();
}

}  // namespace anya
