// SPDX-License-Identifier: Apache-2.0
#include "batching/queue_door.h"

#include <memory>
#include <vector>

#include "support/check.h"
#include "support/value_request.h"

using namespace anya::test;
using anya::BatchingOptions;
using anya::ErrorCode;
using anya::kNever;
using anya::Nanos;
using anya::QueueDoor;
using anya::QueuePolicyOptions;
using anya::Reason;
using anya::Status;

namespace {

constexpr Nanos kMillisecond = 1'000'000;
constexpr Nanos kNow = 5 * kMillisecond;

BatchingOptions target_of(std::int64_t milliseconds) {
  BatchingOptions options;
  options.queue_delay_target_microseconds = milliseconds * 1000;
  return options;
}

class Asker {
 public:
  explicit Asker(const BatchingOptions& options = {}, int instances = 1) : door(options, instances) {}

  ValueRequest& request(Nanos time_left = kNever, int priority = 0) {
    requests_.push_back(std::make_unique<ValueRequest>(owner_, 1, 0.0F));
    ValueRequest& made = *requests_.back();
    made.accepted_at = kNow;
    made.priority = priority;
    if (time_left != kNever) made.deadline = kNow + time_left;
    return made;
  }
  Status check(std::uint32_t waiting, Nanos time_left, int priority = 0) {
    return door.check(request(time_left, priority), waiting);
  }

 private:
  CountingOwner owner_;
  std::vector<std::unique_ptr<ValueRequest>> requests_;

 public:
  QueueDoor door;
};

}  // namespace

TEST(QueueDoor, NothingLearnedNothingRefused) {
  Asker asker;
  EXPECT_TRUE(asker.check(1000, 1).ok());
  EXPECT_EQ(asker.door.predicted_wait(128, 1000), -1);
}

TEST(QueueDoor, AnIdleModelRefusesNobodyWhateverItHasLearned) {
  Asker asker;
  asker.door.ran(1, 3600 * 1000 * kMillisecond, true);
  asker.door.set_overloaded(true);
  EXPECT_TRUE(asker.check(0, 1).ok());
}

TEST(QueueDoor, ATimeThatCannotSufficeIsRefusedWithWhatWasPredicted) {
  Asker asker;
  asker.door.ran(10, 20 * kMillisecond, true);  // 2 ms for each
  EXPECT_EQ(asker.door.predicted_wait(128, 15), 30 * kMillisecond);
  // 30 ms until it is taken, and the run of ten.
  EXPECT_TRUE(asker.check(15, 50 * kMillisecond).ok());
  const Status refused = asker.check(15, 50 * kMillisecond - 1);
  EXPECT_EQ(refused.code, ErrorCode::kDeadlineExceeded);
  EXPECT_EQ(refused.reason, Reason::kCannotSuffice);
  EXPECT_EQ(refused.value, 50 * kMillisecond);
  EXPECT_EQ(refused.limit, 50 * kMillisecond - 1);
  // Two ahead and itself: a run of three.
  EXPECT_TRUE(asker.check(2, 10 * kMillisecond).ok());
  EXPECT_FALSE(asker.check(2, 10 * kMillisecond - 1).ok());
  EXPECT_TRUE(asker.check(1000, kNever).ok());  // no deadline, no question
  asker.door.forget();
  EXPECT_TRUE(asker.check(15, 1).ok());
}

// Once everybody is refused nobody is left waiting, so runs without a queue must be able to set a bad guess right.
TEST(QueueDoor, ACostThatWasTooHighIsForgottenEvenWhenNobodyWaits) {
  Asker asker;
  asker.door.ran(1, 1000 * kMillisecond, /*left_others=*/false);
  EXPECT_EQ(asker.door.predicted_wait(128, 1), -1);  // nothing is learned from a lone run
  asker.door.ran(1, 1000 * kMillisecond, /*left_others=*/true);
  EXPECT_FALSE(asker.check(1, 50 * kMillisecond).ok());
  for (int i = 0; i < 20; ++i) asker.door.ran(1, 10 * kMillisecond, /*left_others=*/false);
  EXPECT_TRUE(asker.check(1, 50 * kMillisecond).ok());
  asker.door.ran(1, 1000 * kMillisecond, /*left_others=*/false);  // but it never makes a guess worse
  EXPECT_TRUE(asker.check(1, 50 * kMillisecond).ok());
}

TEST(QueueDoor, InstancesShareTheWait) {
  Asker asker({}, 2);
  asker.door.ran(10, 20 * kMillisecond, true);
  EXPECT_EQ(asker.door.predicted_wait(128, 20), 20 * kMillisecond);
}

TEST(QueueDoor, AnOverloadedQueueTakesOnlyWhatItServesWithinTheTarget) {
  Asker asker(target_of(20));
  asker.door.ran(10, 20 * kMillisecond, true);
  EXPECT_TRUE(asker.check(500, kNever).ok());
  asker.door.set_overloaded(true);
  EXPECT_TRUE(asker.check(10, kNever).ok());
  const Status refused = asker.check(11, kNever);
  EXPECT_EQ(refused.code, ErrorCode::kOverloaded);
  EXPECT_EQ(refused.reason, Reason::kQueueDelay);
  EXPECT_EQ(refused.value, 11);
  EXPECT_EQ(refused.limit, 20 * kMillisecond);
  EXPECT_EQ(refused.predicted, 22 * kMillisecond);
  asker.door.set_overloaded(false);
  EXPECT_TRUE(asker.check(11, kNever).ok());
}

TEST(QueueDoor, WhoGoesFirstWaitsForThoseAboveItAlone) {
  Asker asker(target_of(20));
  asker.door.ran(10, 20 * kMillisecond, true);
  asker.door.set_overloaded(true);
  EXPECT_EQ(asker.door.predicted_wait(127, 100), 0);  // the first that is not of the usual level
  EXPECT_EQ(asker.door.predicted_wait(129, 100), 200 * kMillisecond);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(asker.door.join(asker.request(kNever, 1)));
  ValueRequest& low = asker.request(kNever, 200);
  EXPECT_TRUE(asker.door.join(low));
  for (int i = 0; i < 96; ++i) EXPECT_TRUE(asker.door.join(asker.request()));  // 128: the gate counts them
  EXPECT_EQ(asker.door.predicted_wait(1, 100), 6 * kMillisecond);
  EXPECT_EQ(asker.door.predicted_wait(2, 100), 6 * kMillisecond);
  EXPECT_EQ(asker.door.predicted_wait(128, 100), 198 * kMillisecond);
  EXPECT_EQ(asker.door.predicted_wait(255, 100), 200 * kMillisecond);
  EXPECT_TRUE(asker.check(100, 14 * kMillisecond, 1).ok());  // behind three, then in a run of four
  EXPECT_FALSE(asker.check(100, 14 * kMillisecond - 1, 1).ok());
  EXPECT_FALSE(asker.check(100, kNever, 0).ok());
  asker.door.leave(low);
  EXPECT_EQ(asker.door.predicted_wait(255, 99), 198 * kMillisecond);
}

TEST(QueueDoor, ALevelHasABoundOfItsOwn) {
  BatchingOptions options;
  options.priority_levels = 2;
  options.default_priority_level = 2;
  QueuePolicyOptions policy;
  policy.max_queue_size = 2;
  options.priority_queue_policy = {{2, policy}};
  Asker asker(options);
  ValueRequest& first = asker.request();
  EXPECT_TRUE(asker.door.join(first));
  EXPECT_TRUE(asker.door.join(asker.request(kNever, 2)));
  ValueRequest& third = asker.request();
  EXPECT_FALSE(asker.door.join(third));
  EXPECT_EQ(third.status.code, ErrorCode::kOverloaded);
  EXPECT_EQ(third.status.reason, Reason::kLevelFull);
  EXPECT_EQ(third.status.value, 2);
  EXPECT_EQ(third.status.limit, 2);
  EXPECT_TRUE(asker.door.join(asker.request(kNever, 1)));
  asker.door.leave(first);
  EXPECT_TRUE(asker.door.join(third));
}
