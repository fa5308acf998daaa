// SPDX-License-Identifier: Apache-2.0
//
// The door of a loaded model: deadlines at admission, who may run here, refusals counted, outcomes from outside.
#include "anya/model.h"

#include <atomic>
#include <memory>
#include <numeric>
#include <thread>

#include "model/model_impl.h"
#include "support/check.h"
#include "support/fake_clock.h"
#include "support/turnstile.h"
#include "support/value_request.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::ErrorCode;
using anya::Model;
using anya::Nanos;
using anya::Reason;
using anya::Request;
using anya::Status;

namespace {

constexpr Nanos kMillisecond = 1'000'000;

anya::ModelOptions two_may_wait() {
  anya::ModelOptions options;
  options.batching.max_queue_size = 2;
  return options;
}

// One model over a fake session; its requests outlive it.
struct Rig {
  explicit Rig(Nanos run_time = 0, anya::ModelOptions options = two_may_wait()) {
    auto session = std::make_unique<FakeSession>(value_schema(), [this, run_time](auto inputs, auto, auto outputs) {
      turnstile.pass();
      clock->advance(run_time);
      return value_model(inputs, outputs);
    });
    anya::ModelInfo info;
    info.name = "double";
    info.version = "1";
    info.batchable = true;
    auto shared = std::make_shared<anya::EngineShared>(clock);
    model = std::make_unique<Model>(
        std::make_unique<Model::Impl>(shared, info, std::move(session), anya::Admission::Rules{true, {true}, 1 << 20},
                                      options.batching, std::vector<anya::MeasuredRun>{}, anya::timeouts_of(options)));
  }
  ~Rig() {
    turnstile.open();
    model.reset();
  }
  ValueRequest& request(Nanos timeout = anya::kNever) {
    requests.push_back(std::make_unique<ValueRequest>(owner, 1, 2.0F));
    requests.back()->timeout = timeout;
    return *requests.back();
  }
  ValueRequest& admitted(Nanos timeout = anya::kNever) {
    ValueRequest& one = request(timeout);
    EXPECT_TRUE(model->admit(one).ok());
    return one;
  }
  std::size_t enqueue(Request& one, Status& refusal, bool watch = false) {
    Request* only = &one;
    return model->enqueue({&only, 1}, watch, refusal);
  }
  std::uint64_t refused(ErrorCode code) const { return model->stats().refused[static_cast<std::size_t>(code)]; }

  CountingOwner owner;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  std::shared_ptr<FakeClock> clock = std::make_shared<FakeClock>();
  Turnstile turnstile;
  std::unique_ptr<Model> model;
};

}  // namespace

TEST(Model, AdmissionStampsTheTimeAndTheDeadline) {
  Rig rig;
  const ValueRequest& patient = rig.admitted();
  EXPECT_EQ(patient.accepted_at, rig.clock->now());
  EXPECT_EQ(patient.deadline, anya::kNever);
  EXPECT_EQ(rig.admitted(5 * kMillisecond).deadline, rig.clock->now() + 5 * kMillisecond);
  EXPECT_EQ(rig.admitted(anya::kNever - 1).deadline, anya::kNever);  // later than time goes
}

TEST(Model, ATimeThatHasRunOutIsRefusedAtTheDoorAndCounted) {
  Rig rig;
  for (const Nanos timeout : {Nanos{0}, Nanos{-1}}) {
    const Status status = rig.model->admit(rig.request(timeout));
    EXPECT_EQ(status.code, ErrorCode::kDeadlineExceeded);
    EXPECT_EQ(status.reason, Reason::kExpiredAtDoor);
    EXPECT_EQ(status.value, timeout);
  }
  EXPECT_EQ(rig.refused(ErrorCode::kDeadlineExceeded), 2u);
  EXPECT_EQ(rig.model->stats().accepted, 0u);
}

TEST(Model, EveryRefusalIsCountedOnce) {
  Rig rig;
  ValueRequest& wrong = rig.request();
  wrong.inputs[0].dtype = anya::DType::kInt64;
  EXPECT_EQ(rig.model->admit(wrong).code, ErrorCode::kInvalidInput);
  ValueRequest& large = rig.request();
  large.inputs[0].shape = {std::int64_t{1} << 40, kWidth};
  EXPECT_EQ(rig.model->admit(large).code, ErrorCode::kInputTooLarge);
  rig.model->count_refusal(ErrorCode::kInvalidInput);
  EXPECT_EQ(rig.refused(ErrorCode::kInvalidInput), 2u);
  EXPECT_EQ(rig.refused(ErrorCode::kInputTooLarge), 1u);
  EXPECT_EQ(rig.model->stats().accepted, 0u);
  EXPECT_EQ(rig.model->stats().name, "double");
}

// Nobody can interrupt one operator: a caller with a deadline runs its own request only once the run time is known, and
// only when twice that fits.
TEST(Model, ACallerWithADeadlineRunsHereOnlyWithRoomToSpare) {
  const Watchdog watchdog("runs on the caller's thread");
  Rig rig(kMillisecond);
  EXPECT_FALSE(rig.model->run_here(rig.admitted(100 * kMillisecond)));  // nothing is known yet
  EXPECT_TRUE(rig.model->run_here(rig.admitted()));
  EXPECT_TRUE(rig.model->run_here(rig.admitted(2 * kMillisecond)));
  EXPECT_FALSE(rig.model->run_here(rig.admitted(2 * kMillisecond - 1)));
}

TEST(Model, AFullQueueSaysSo) {
  const Watchdog watchdog("a full queue");
  Rig rig;
  Status refusal;
  // As many as usable instances: one, since the info says so; then two places in the queue.
  rig.turnstile.shut();
  EXPECT_EQ(rig.enqueue(rig.admitted(), refusal), 1u);
  rig.turnstile.wait_for(1);
  Request* three[] = {&rig.admitted(), &rig.admitted(), &rig.admitted()};
  EXPECT_EQ(rig.model->enqueue(three, false, refusal), 2u);
  EXPECT_EQ(refusal.code, ErrorCode::kOverloaded);
  EXPECT_EQ(refusal.limit, 2);
  EXPECT_EQ(rig.refused(ErrorCode::kOverloaded), 1u);
}

TEST(Model, ConcludeDecidesOnceWithItsFacts) {
  const Watchdog watchdog("a concluded request");
  Rig rig;
  Status refusal;
  rig.turnstile.shut();
  ValueRequest& running = rig.admitted(50 * kMillisecond);
  EXPECT_EQ(rig.enqueue(running, refusal), 1u);
  rig.turnstile.wait_for(1);
  EXPECT_TRUE(rig.model->conclude(running, ErrorCode::kDeadlineExceeded, Reason::kExpired));
  EXPECT_FALSE(rig.model->conclude(running, ErrorCode::kCancelled, Reason::kCancelled));
  EXPECT_EQ(running.status.code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(running.status.value, 50 * kMillisecond);
  rig.turnstile.open();
  rig.model->close();
  EXPECT_EQ(rig.model->stats().in_flight, 0u);
  EXPECT_EQ(rig.model->stats().ended[static_cast<std::size_t>(ErrorCode::kDeadlineExceeded)], 1u);
}

TEST(Model, ARequestThatNamesNoTimeoutHasTheModelsAndNoneMayBeLongerThanItAllows) {
  anya::ModelOptions options = two_may_wait();
  options.default_timeout = 0.005;
  options.max_timeout = 0.02;
  Rig rig(0, options);
  const Nanos now = rig.clock->now();
  EXPECT_EQ(rig.admitted().deadline, now + 5 * kMillisecond);
  EXPECT_EQ(rig.admitted(kMillisecond).deadline, now + kMillisecond);
  EXPECT_EQ(rig.admitted(20 * kMillisecond).deadline, now + 20 * kMillisecond);
  const Status status = rig.model->admit(rig.request(20 * kMillisecond + 1));
  EXPECT_EQ(status.code, ErrorCode::kInvalidInput);
  EXPECT_EQ(status.reason, Reason::kTimeoutTooLong);
  EXPECT_EQ(status.limit, 20 * kMillisecond);
  EXPECT_EQ(rig.refused(ErrorCode::kInvalidInput), 1u);
  options.default_timeout = 0;
  EXPECT_EQ(Rig(0, options).admitted().timeout, 20 * kMillisecond);  // no default: the longest
}

TEST(Model, APriorityBeyondTheLevelsIsRefused) {
  anya::ModelOptions options = two_may_wait();
  options.batching.priority_levels = 3;
  Rig rig(0, options);
  ValueRequest& request = rig.request();
  request.priority = 3;
  EXPECT_TRUE(rig.model->admit(request).ok());
  request.priority = 4;
  const Status status = rig.model->admit(request);
  EXPECT_EQ(status.code, ErrorCode::kInvalidInput);
  EXPECT_EQ(status.reason, Reason::kPriorityOutOfRange);
  EXPECT_EQ(status.value, 4);
  EXPECT_EQ(status.limit, 3);
}

// Two wait, each run takes 10 ms and is known to: what has less than the two and its own is refused at once.
TEST(Model, ATimeThatCannotSufficeIsRefusedAtTheDoor) {
  const Watchdog watchdog("a refusal by prediction");
  anya::ModelOptions options = two_may_wait();
  options.batching.max_batch_size = 1;
  options.batching.max_queue_size = 3;
  Rig rig(10 * kMillisecond, options);
  Status refusal;
  int blocked = 0;
  const auto crowd = [&] {
    rig.turnstile.shut();
    EXPECT_EQ(rig.enqueue(rig.admitted(), refusal), 1u);
    rig.turnstile.wait_for(++blocked);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(rig.enqueue(rig.admitted(), refusal), 1u);
  };
  crowd();
  EXPECT_TRUE(rig.model->admit(rig.request(1)).ok());  // nothing is known yet
  rig.turnstile.open();
  until([&] { return rig.model->stats().ended[0] == 3; });
  blocked += 2;
  EXPECT_TRUE(rig.model->admit(rig.request(1)).ok());  // nobody waits: it may be lucky
  crowd();
  EXPECT_TRUE(rig.model->admit(rig.request(30 * kMillisecond)).ok());
  const Status status = rig.model->admit(rig.request(30 * kMillisecond - 1));
  EXPECT_EQ(status.code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(status.reason, Reason::kCannotSuffice);
  EXPECT_EQ(status.value, 30 * kMillisecond);
  EXPECT_EQ(status.limit, 30 * kMillisecond - 1);
  EXPECT_EQ(rig.refused(ErrorCode::kDeadlineExceeded), 1u);
}

// The time in the queue that a policy allows ends a request even while the model is stuck, whoever waits for it; what
// has been taken to run is not stopped by it.
TEST(Model, TheQueuesTimeIsOverWhileTheModelIsStuck) {
  const Watchdog watchdog("a queue's timeout behind a stuck model");
  anya::ModelOptions options = two_may_wait();
  options.batching.default_queue_policy.default_timeout_microseconds = 1000;
  Rig rig(0, options);
  Status refusal;
  rig.turnstile.shut();
  ValueRequest& running = rig.admitted();
  EXPECT_EQ(rig.enqueue(running, refusal), 1u);
  rig.turnstile.wait_for(1);
  ValueRequest& queued = rig.admitted(50 * kMillisecond);
  EXPECT_EQ(rig.enqueue(queued, refusal, /*watch=*/false), 1u);
  rig.clock->advance(kMillisecond);
  EXPECT_EQ(queued.wait(anya::kNever), Request::Wait::kEnded);
  EXPECT_EQ(queued.status.code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(queued.status.reason, Reason::kQueueTimeout);
  EXPECT_EQ(queued.status.value, kMillisecond);
  EXPECT_FALSE(running.ended());
  rig.turnstile.open();
  EXPECT_EQ(running.wait(anya::kNever), Request::Wait::kEnded);
  EXPECT_TRUE(running.is_right());
}

// The model is stuck and nobody waits: the engine's timer ends the request all the same.
TEST(Model, AWatchedRequestEndsAtItsDeadlineWhileTheModelIsStuck) {
  const Watchdog watchdog("a watched deadline");
  Rig rig;
  Status refusal;
  rig.turnstile.shut();
  EXPECT_EQ(rig.enqueue(rig.admitted(), refusal), 1u);
  rig.turnstile.wait_for(1);
  ValueRequest& watched = rig.admitted(kMillisecond);
  EXPECT_EQ(rig.enqueue(watched, refusal, /*watch=*/true), 1u);
  rig.clock->advance(kMillisecond);
  EXPECT_EQ(watched.wait(anya::kNever), Request::Wait::kEnded);
  EXPECT_EQ(watched.status.code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(watched.status.reason, Reason::kExpired);
}

// What is asked of a twin does not wait for those who asked the model; both run the same session, and the model's
// counters have each request once, before and after the twin's end.
TEST(Model, ATwinHasAQueueOfItsOwnAndTheModelsCounts) {
  const Watchdog watchdog("a twin of a stuck model");
  Rig rig;
  Status refusal;
  rig.turnstile.shut();
  ValueRequest& stuck = rig.admitted();
  EXPECT_EQ(rig.enqueue(stuck, refusal), 1u);
  rig.turnstile.wait_for(1);
  EXPECT_EQ(rig.enqueue(rig.admitted(), refusal), 1u);  // waits
  const std::shared_ptr<Model> twin = rig.model->make_twin();
  EXPECT_EQ(twin->info().version, "1");
  EXPECT_EQ(twin->waiting(), 0u);
  ValueRequest& quick = rig.request();
  EXPECT_TRUE(twin->admit(quick).ok());
  std::thread caller([&] { EXPECT_TRUE(twin->run_here(quick)); });
  rig.turnstile.wait_for(2);  // of one instance each
  const anya::ModelStats during = rig.model->stats();
  EXPECT_EQ(during.accepted, 3u);
  EXPECT_EQ(during.in_flight, 3u);
  EXPECT_EQ(during.queue_depth, 1u);
  EXPECT_EQ(during.instances, 2u);
  EXPECT_EQ(during.instances_busy, 2u);
  rig.turnstile.open();
  caller.join();
  EXPECT_TRUE(quick.is_right());
  rig.model->end_twin(twin);
  rig.model->end_twin(twin);  // once is enough
  EXPECT_EQ(twin->admit(rig.request()).code, ErrorCode::kUnavailable);
  rig.model->close();
  const anya::ModelStats after = rig.model->stats();
  EXPECT_EQ(after.accepted, 3u);
  EXPECT_EQ(after.ended[0], 3u);
  EXPECT_EQ(after.in_flight, 0u);
  EXPECT_EQ(after.instances, 1u);
  EXPECT_EQ(after.request_duration.counts.size(), during.request_duration.counts.size());
  EXPECT_EQ(std::accumulate(after.request_duration.counts.begin(), after.request_duration.counts.end(), 0u), 3u);
}

// A twin ends without waiting for what another one is asked, and both are in the model's counts for good.
TEST(Model, TwinsDoNotWaitForEachOther) {
  const Watchdog watchdog("ending a twin while another one is stuck");
  Rig rig;
  const std::shared_ptr<Model> busy = rig.model->make_twin();
  const std::shared_ptr<Model> idle = rig.model->make_twin();
  ValueRequest& quick = rig.request();
  EXPECT_TRUE(idle->admit(quick).ok());
  EXPECT_TRUE(idle->run_here(quick));
  rig.turnstile.shut();
  ValueRequest& stuck = rig.request();
  EXPECT_TRUE(busy->admit(stuck).ok());
  std::thread caller([&] { EXPECT_TRUE(busy->run_here(stuck)); });
  rig.turnstile.wait_for(2);  // after the quick one
  rig.model->end_twin(idle);
  const anya::ModelStats during = rig.model->stats();
  EXPECT_EQ(during.accepted, 2u);
  EXPECT_EQ(during.in_flight, 1u);
  EXPECT_EQ(during.instances, 2u);
  rig.turnstile.open();
  caller.join();
  rig.model->end_twin(busy);
  const anya::ModelStats after = rig.model->stats();
  EXPECT_EQ(after.ended[0], 2u);
  EXPECT_EQ(rig.model->succeeded(), 2u);
  EXPECT_EQ(after.in_flight, 0u);
}

// The model's end is its twin's: what the twin had accepted is answered first. Afterwards there is no twin to be had.
TEST(Model, ATwinEndsWithItsModel) {
  const Watchdog watchdog("closing a model with a twin");
  Rig rig;
  Status refusal;
  const std::shared_ptr<Model> twin = rig.model->make_twin();
  ValueRequest& last = rig.request();
  EXPECT_TRUE(twin->admit(last).ok());
  Request* only = &last;
  EXPECT_EQ(twin->enqueue({&only, 1}, false, refusal), 1u);
  rig.model->close();
  EXPECT_TRUE(last.ended());
  EXPECT_TRUE(last.is_right());
  EXPECT_EQ(twin->admit(rig.request()).code, ErrorCode::kUnavailable);
  EXPECT_EQ(rig.model->stats().ended[0], 1u);
  EXPECT_ERROR(ErrorCode::kUnavailable, static_cast<void>(rig.model->make_twin()));
}

// Twins come and go while others ask them and read the counters: every request is answered, and counted once.
TEST(Model, TwinsComeAndGoWhileTheyAreAsked) {
  const Watchdog watchdog("twins under load");
  Rig rig;
  constexpr int kTwins = 20;
  constexpr int kEach = 30;
  std::atomic<bool> over{false};
  std::thread reader([&] {
    std::uint64_t seen = 0;
    while (!over.load()) {
      const anya::ModelStats stats = rig.model->stats();
      EXPECT_GE(stats.accepted, seen);
      EXPECT_EQ(std::accumulate(stats.ended.begin(), stats.ended.end(), stats.in_flight), stats.accepted);
      seen = stats.accepted;
    }
  });
  for (int round = 0; round < kTwins; ++round) {
    const std::shared_ptr<Model> twin = rig.model->make_twin();
    for (int i = 0; i < kEach; ++i) {
      ValueRequest& one = rig.request();
      EXPECT_TRUE(twin->admit(one).ok());
      EXPECT_TRUE(twin->run_here(one));
      EXPECT_TRUE(one.is_right());
    }
    std::thread other([&] { rig.model->end_twin(twin); });
    rig.model->end_twin(twin);
    other.join();
  }
  over.store(true);
  reader.join();
  EXPECT_EQ(rig.model->stats().ended[0], static_cast<std::uint64_t>(kTwins * kEach));
}
