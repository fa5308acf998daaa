// SPDX-License-Identifier: Apache-2.0
//
// A model with a response cache, one instance over a fake session, for tests that say when its runs go on.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "model/model_impl.h"
#include "support/check.h"
#include "support/fake_clock.h"
#include "support/turnstile.h"
#include "support/value_request.h"
#include "support/watchdog.h"

namespace anya::test {

inline constexpr Nanos kSecond = 1'000'000'000;

inline CacheOptions with_cache() {
  CacheOptions options;
  options.capacity_bytes = 1 << 20;
  options.ttl_jitter = 0;
  return options;
}

// Fresh for `ttl` seconds, then given for so many more: when the run fails, and while a new answer is made.
inline CacheOptions with_stale(double if_error, double while_revalidate, double ttl = 10) {
  CacheOptions options = with_cache();
  options.ttl = ttl;
  options.stale_if_error = if_error;
  options.stale_while_revalidate = while_revalidate;
  return options;
}

// One instance over a fake session: y = 2x + 1, where nothing else is said.
struct Rig {
  explicit Rig(const CacheOptions& cache = with_cache(), std::int64_t max_queue_size = 64,
               const std::optional<BreakerOptions>& breaker = {}) {
    auto made = std::make_unique<FakeSession>(value_schema(), [this](auto inputs, auto, auto outputs) {
      turnstile.pass();
      if (fails.load()) return Status::with_text(ErrorCode::kExecutionError, "told to fail");
      return value_model(inputs, outputs);
    });
    session = made.get();
    ModelInfo info;
    info.name = "double";
    BatchingOptions batching;
    batching.max_queue_size = max_queue_size;
    model = std::make_unique<Model>(std::make_unique<Model::Impl>(
        std::make_shared<EngineShared>(clock), info, std::move(made), Admission::Rules{true, {true}, 1 << 20}, batching,
        std::vector<MeasuredRun>{}, Timeouts{}, ModelRules{}, cache, breaker));
  }
  ~Rig() {
    turnstile.open();
    model.reset();
  }
  ValueRequest& request(float value, int priority = 0) {
    requests.push_back(std::make_unique<ValueRequest>(owner, 1, value));
    requests.back()->priority = priority;
    return *requests.back();
  }
  // What a binding does before the run. True: it is in. With a refusal of its own, several threads may.
  bool prepare(ValueRequest& one, Status& refusal, Model::Caching caching = Model::Caching::kUse) const {
    EXPECT_TRUE(model->admit(one).ok());
    refusal = model->find_answer(one, caching);
    return one.ended() || (refusal.ok() && model->join(one, false));
  }
  bool enqueue(ValueRequest& one, Status& refusal) const {
    Request* only = &one;
    return model->enqueue({&only, 1}, false, refusal) == 1;
  }
  void ask(ValueRequest& one, Model::Caching caching = Model::Caching::kUse) const {
    Status refusal;
    if (!prepare(one, refusal, caching)) EXPECT_TRUE(enqueue(one, refusal));
  }
  bool prepare(ValueRequest& one, Model::Caching caching = Model::Caching::kUse) {
    return prepare(one, last_refusal, caching);
  }
  bool enqueue(ValueRequest& one) { return enqueue(one, last_refusal); }
  ValueRequest& ask(float value, int priority = 0) {
    ValueRequest& one = request(value, priority);
    ask(one);
    return one;
  }
  ValueRequest& answered(float value) {
    ValueRequest& one = ask(value);
    wait(one);
    return one;
  }
  // A run that waits at the turnstile, so that what comes next stays in the queue.
  ValueRequest& occupy() {
    const int before = turnstile.arrived();
    turnstile.shut();
    ValueRequest& one = ask(-1000);
    turnstile.wait_for(before + 1);
    return one;
  }
  void cancel(Request& one) { model->conclude(one, ErrorCode::kCancelled, Reason::kCancelled); }
  static void wait(Request& one) { static_cast<void>(one.wait(kNever)); }
  // The runs go on, and everything that was asked ends.
  void finish() {
    turnstile.open();
    for (const auto& one : requests) wait(*one);
  }
  // Its own right answer, from its own run or another one's.
  static bool is_right(const ValueRequest& one) {
    if (one.answer == nullptr) return one.is_right();
    const OutputBuffer& output = one.answer->outputs()[0];
    const auto* x = static_cast<const float*>(one.inputs[0].data);
    const auto* y = static_cast<const float*>(output.data);
    return one.status.ok() && output.bytes == 2 * sizeof(float) && y[0] == 2 * x[0] + 1 && y[1] == 2 * x[1] + 1;
  }
  CacheStats cache() const { return model->stats().cache; }
  std::uint64_t ended(ErrorCode code) const { return model->stats().ended[static_cast<std::size_t>(code)]; }
  void expect_at_rest() {
    until([&] { return model->stats().in_flight == 0; });
    std::uint64_t all = 0;
    for (const std::uint64_t count : model->stats().ended) all += count;
    EXPECT_EQ(model->stats().accepted, all);
  }

  Watchdog watchdog{"a request that must end"};
  CountingOwner owner;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  std::shared_ptr<FakeClock> clock = std::make_shared<FakeClock>();
  Turnstile turnstile;
  std::atomic<bool> fails{false};
  FakeSession* session = nullptr;
  Status last_refusal;
  std::unique_ptr<Model> model;
};

}  // namespace anya::test
