// SPDX-License-Identifier: Apache-2.0
#include "batching/queue_policies.h"

#include "support/check.h"
#include "support/value_request.h"

using namespace anya::test;
using anya::BatchingOptions;
using anya::kNever;
using anya::Nanos;
using anya::QueuePolicies;
using anya::QueuePolicyOptions;

namespace {

constexpr Nanos kMicrosecond = 1000;
constexpr Nanos kNow = 1'000'000;

QueuePolicyOptions policy(std::int64_t timeout_microseconds, bool own_counts = false, std::int64_t most = 0) {
  QueuePolicyOptions options;
  options.default_timeout_microseconds = timeout_microseconds;
  options.allow_timeout_override = own_counts;
  options.max_queue_size = most;
  return options;
}

struct Terms {
  int level;
  Nanos leave_at;
  Nanos order;
};

Terms terms(const QueuePolicies& policies, int priority, Nanos deadline) {
  CountingOwner owner;
  ValueRequest request(owner, 1, 0.0F);
  request.priority = priority;
  request.accepted_at = kNow;
  request.deadline = deadline;
  policies.apply(request);
  return {request.level, request.leave_at, request.order};
}

}  // namespace

TEST(QueuePolicies, WhoNamesNoPriorityHasTheDefaultOneWhichIsInTheMiddle) {
  const auto levels = [](std::int64_t count, std::int64_t usual) {
    BatchingOptions options;
    options.priority_levels = count;
    options.default_priority_level = usual;
    return QueuePolicies(options);
  };
  EXPECT_EQ(levels(0, 0).level_of(0), 128);
  EXPECT_EQ(levels(0, 7).level_of(0), 7);
  EXPECT_EQ(levels(1, 0).level_of(0), 1);
  EXPECT_EQ(levels(2, 0).level_of(0), 1);
  EXPECT_EQ(levels(5, 0).level_of(0), 3);
  EXPECT_EQ(levels(5, 5).level_of(0), 5);
  EXPECT_EQ(levels(5, 5).level_of(2), 2);
  EXPECT_TRUE(levels(0, 0).accepts(255));
  EXPECT_TRUE(levels(5, 0).accepts(5));
  EXPECT_TRUE(levels(5, 0).accepts(0));
  EXPECT_FALSE(levels(5, 0).accepts(6));
}

TEST(QueuePolicies, WithoutOneARequestWaitsAsLongAsItSays) {
  const QueuePolicies policies;
  EXPECT_FALSE(policies.bounded());
  EXPECT_EQ(policies.max_waiting(128), QueuePolicies::kUnbounded);
  const Terms hurried = terms(policies, 0, kNow + 500);
  EXPECT_EQ(hurried.leave_at, kNever);
  EXPECT_EQ(hurried.order, kNow + 500);
  const Terms patient = terms(policies, 0, kNever);
  EXPECT_EQ(patient.leave_at, kNever);
  EXPECT_EQ(patient.order, kNow + QueuePolicies::kPatience);  // behind the hurried, but not for ever
}

TEST(QueuePolicies, TheTimeInTheQueueIsBoundedByThePolicyOfTheLevel) {
  BatchingOptions options;
  options.priority_levels = 3;
  options.default_queue_policy = policy(100);
  options.priority_queue_policy = {{3, policy(0, false, 7)}};
  const QueuePolicies policies(options);
  EXPECT_EQ(terms(policies, 1, kNever).leave_at, kNow + 100 * kMicrosecond);
  EXPECT_EQ(terms(policies, 0, kNever).leave_at, kNow + 100 * kMicrosecond);  // level 2
  EXPECT_EQ(terms(policies, 3, kNever).leave_at, kNever);
  EXPECT_TRUE(policies.bounded());
  EXPECT_EQ(policies.max_waiting(3), 7u);
  EXPECT_EQ(policies.max_waiting(2), QueuePolicies::kUnbounded);
}

TEST(QueuePolicies, AShorterTimeoutMovesARequestForwardOnlyWhereThePolicyAllowsIt) {
  BatchingOptions options;
  options.default_queue_policy = policy(100, /*own_counts=*/false);
  EXPECT_EQ(terms(QueuePolicies(options), 0, kNow + 10).order, kNow + 100 * kMicrosecond);
  options.default_queue_policy = policy(100, /*own_counts=*/true);
  EXPECT_EQ(terms(QueuePolicies(options), 0, kNow + 10).order, kNow + 10);
  EXPECT_EQ(terms(QueuePolicies(options), 0, kNow + 900 * kMicrosecond).order,
            kNow + 100 * kMicrosecond);  // never back
}
