// SPDX-License-Identifier: Apache-2.0
#include "anya/request.h"

#include <barrier>
#include <csignal>
#include <memory>
#include <thread>
#include <vector>

#include <pthread.h>

#include "anya/completion_queue.h"
#include "support/check.h"
#include "support/value_request.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::CompletionQueue;
using anya::ErrorCode;
using anya::Reason;
using anya::Request;
using anya::Status;

TEST(Request, ExactlyOneThreadClaims) {
  const Watchdog watchdog("threads that claim");
  constexpr int kThreads = 4;
  constexpr int kRounds = 2'000;
  CountingOwner owner;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  for (int i = 0; i < kRounds; ++i) requests.push_back(std::make_unique<ValueRequest>(owner, 1, 0.0F));
  std::vector<std::atomic<int>> winners(kRounds);
  std::barrier together(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      together.arrive_and_wait();
      for (std::size_t i = 0; i < kRounds; ++i) {
        if (requests[i]->claim()) winners[i].fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  int wrong = 0;
  for (const std::atomic<int>& count : winners) wrong += count.load() == 1 ? 0 : 1;
  EXPECT_EQ(wrong, 0);
  EXPECT_TRUE(requests[0]->is_claimed());
  EXPECT_FALSE(requests[0]->ended());
}

TEST(Request, AFailureAloneIsNotifiedUnlessMoreIsAskedFor) {
  const struct {
    ErrorCode code;
    bool asks_for_more;
    bool pushed;
  } table[] = {
      {ErrorCode::kOk, false, false},
      {ErrorCode::kExecutionError, false, true},
      {ErrorCode::kOk, true, true},
      {ErrorCode::kExecutionError, true, true},
  };
  for (const auto& row : table) {
    CountingOwner owner;
    CompletionQueue queue;
    ValueRequest request(owner, 1, 0.0F);
    request.notify_failure_through(queue);
    if (row.asks_for_more) EXPECT_TRUE(request.notify_through(queue));
    EXPECT_TRUE(request.claim());
    request.status = Status::failure(row.code, Reason::kNone);
    EXPECT_EQ(request.publish() != nullptr, row.pushed);
    EXPECT_EQ(queue.take_all() == &request, row.pushed);
    EXPECT_FALSE(request.notify_through(queue));   // too late
    if (row.pushed) EXPECT_FALSE(request.drop());  // the queue's reference
    EXPECT_TRUE(request.drop());                   // ours was the last
  }
}

TEST(Request, WaitSeesTheOutcomeOfAnotherThread) {
  const Watchdog watchdog("publish and wait");
  CountingOwner owner;
  for (int round = 0; round < 2'000; ++round) {
    ValueRequest request(owner, 1, 0.0F);
    std::thread publisher([&request, round] {
      EXPECT_TRUE(request.claim());
      request.status = Status::failure(ErrorCode::kOverloaded, Reason::kQueueFull, round);
      EXPECT_TRUE(request.publish() == nullptr);
    });
    EXPECT_EQ(request.wait(anya::kNever), Request::Wait::kEnded);
    EXPECT_EQ(request.status.value, round);
    EXPECT_TRUE(request.ended());
    publisher.join();
  }
}

TEST(Request, SeveralWaitersAllSeeTheEnd) {
  const Watchdog watchdog("several waiters");
  CountingOwner owner;
  ValueRequest request(owner, 1, 0.0F);
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i) {
    waiters.emplace_back([&request] { EXPECT_EQ(request.wait(anya::kNever), Request::Wait::kEnded); });
  }
  ASSERT_TRUE(request.claim());
  EXPECT_TRUE(request.publish() == nullptr);
  for (std::thread& waiter : waiters) waiter.join();
}

TEST(Request, WaitEndsAtItsTimeAndTheRequestLives) {
  const Watchdog watchdog("a wait with an end");
  CountingOwner owner;
  ValueRequest request(owner, 1, 0.0F);
  const anya::SteadyClock clock;
  const anya::Nanos deadline = clock.now() + 2'000'000;
  Request::Wait result = Request::Wait::kInterrupted;
  while (result == Request::Wait::kInterrupted) result = request.wait(deadline);
  EXPECT_EQ(result, Request::Wait::kTimedOut);
  EXPECT_GE(clock.now(), deadline);
  EXPECT_FALSE(request.ended());
  EXPECT_TRUE(request.claim());
  EXPECT_TRUE(request.publish() == nullptr);
  EXPECT_EQ(request.wait(deadline), Request::Wait::kEnded);
}

TEST(Request, ASignalHandlerInterruptsTheWait) {
  const Watchdog watchdog("an interrupted wait");
  struct sigaction action{};
  action.sa_handler = [](int) {};
  struct sigaction before{};
  sigaction(SIGUSR1, &action, &before);
  CountingOwner owner;
  ValueRequest request(owner, 1, 0.0F);
  std::atomic<bool> interrupted{false};
  std::thread waiter([&] {
    EXPECT_EQ(request.wait(anya::kNever), Request::Wait::kInterrupted);
    interrupted.store(true);
  });
  until([&] {
    pthread_kill(waiter.native_handle(), SIGUSR1);
    return interrupted.load();
  });
  waiter.join();
  sigaction(SIGUSR1, &before, nullptr);
  EXPECT_FALSE(request.ended());
}

TEST(Request, NotifiesThroughAQueueWhenAskedBeforeTheEnd) {
  CountingOwner owner;
  ValueRequest request(owner, 1, 0.0F);
  CompletionQueue queue;
  EXPECT_TRUE(request.notify_through(queue));
  ASSERT_TRUE(request.claim());
  EXPECT_TRUE(request.publish() == &queue);  // the list was empty: the publisher must signal
  EXPECT_TRUE(queue.take_all() == &request);
  request.release();  // the queue's
  EXPECT_EQ(owner.reclaimed(), 0);
  request.release();
  EXPECT_EQ(owner.reclaimed(), 1);
}

TEST(Request, TheSecondInAQueueNeedsNoSignal) {
  CountingOwner owner;
  ValueRequest first(owner, 1, 0.0F);
  ValueRequest second(owner, 1, 0.0F);
  CompletionQueue queue;
  EXPECT_TRUE(first.notify_through(queue));
  EXPECT_TRUE(second.notify_through(queue));
  EXPECT_TRUE(first.claim() && second.claim());
  EXPECT_TRUE(first.publish() == &queue);
  EXPECT_TRUE(second.publish() == nullptr);
}

TEST(Request, PushesNothingWhenAskedAfterTheEnd) {
  CountingOwner owner;
  ValueRequest request(owner, 1, 0.0F);
  CompletionQueue queue;
  ASSERT_TRUE(request.claim());
  EXPECT_TRUE(request.publish() == nullptr);
  EXPECT_FALSE(request.notify_through(queue));
  EXPECT_TRUE(queue.take_all() == nullptr);
  EXPECT_EQ(owner.reclaimed(), 0);
  request.release();
  EXPECT_EQ(owner.reclaimed(), 1);
}

// Publishing races with asking to be notified: either the asker is told that it is over, or the queue gets the request.
TEST(Request, NotifyAndPublishNeverMissEachOther) {
  const Watchdog watchdog("notify against publish");
  CountingOwner owner;
  int pushed = 0;
  constexpr int kRounds = 3'000;
  for (int round = 0; round < kRounds; ++round) {
    ValueRequest request(owner, 1, 0.0F);
    CompletionQueue queue;
    std::atomic<bool> go{false};
    request.retain();
    std::thread publisher([&request, &go] {
      until([&go] { return go.load(); });
      EXPECT_TRUE(request.claim());
      if (CompletionQueue* const signalled = request.publish()) signalled->signal();
      request.release();
    });
    go.store(true);
    const bool promised = request.notify_through(queue);
    publisher.join();
    Request* const got = queue.take_all();
    EXPECT_EQ(got == &request, promised);
    if (got != nullptr) {
      ++pushed;
      got->release();
    }
    request.release();
    EXPECT_EQ(owner.reclaimed(), round + 1);
  }
  EXPECT_LE(pushed, kRounds);
}

TEST(Request, TheLastReferenceReclaimsExactlyOnce) {
  const Watchdog watchdog("references");
  constexpr int kThreads = 4;
  constexpr int kRounds = 500;
  CountingOwner owner;
  for (int round = 0; round < kRounds; ++round) {
    ValueRequest request(owner, 1, 0.0F);
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      request.retain();
      threads.emplace_back([&request] {
        request.retain();
        request.release();
        request.release();
      });
    }
    request.release();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(owner.reclaimed(), round + 1);
  }
}

TEST(Request, ResetMakesItFreshAgain) {
  CountingOwner owner;
  ValueRequest request(owner, 2, 3.0F);
  request.priority = 1;
  request.deadline = 5;
  request.timeout = 6;
  request.signature = 7;
  request.tenant = "t";
  ASSERT_TRUE(request.claim());
  request.status = Status::with_text(ErrorCode::kExecutionError, "no");
  EXPECT_TRUE(request.publish() == nullptr);
  request.release();
  request.reset();
  EXPECT_FALSE(request.ended());
  EXPECT_FALSE(request.is_claimed());
  EXPECT_TRUE(request.status.ok());
  EXPECT_TRUE(request.inputs.empty() && request.outputs.empty() && request.output_indices.empty());
  EXPECT_TRUE(request.tenant.empty());
  EXPECT_EQ(request.priority, 0);
  EXPECT_EQ(request.deadline, anya::kNever);
  EXPECT_EQ(request.timeout, anya::kNever);
  EXPECT_EQ(request.signature, 0u);
  EXPECT_TRUE(request.claim());
  request.release();
  EXPECT_EQ(owner.reclaimed(), 2);
}
