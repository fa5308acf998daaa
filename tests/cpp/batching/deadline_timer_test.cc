// SPDX-License-Identifier: Apache-2.0
//
// With the real clock and short deadlines; each test waits for the request's own end, never for time to pass.
#include "batching/deadline_timer.h"

#include <memory>
#include <thread>
#include <vector>

#include "support/check.h"
#include "support/value_request.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::DeadlineTimer;
using anya::ErrorCode;
using anya::Nanos;
using anya::Reason;
using anya::Request;
using anya::Status;
using anya::SteadyClock;

namespace {

constexpr Nanos kMillisecond = 1'000'000;

void end(Request& request) {
  if (!request.claim()) return;
  request.status = Status::failure(ErrorCode::kDeadlineExceeded, Reason::kExpired);
  static_cast<void>(request.publish());
}

std::unique_ptr<ValueRequest> due(CountingOwner& owner, Nanos deadline) {
  auto request = std::make_unique<ValueRequest>(owner, 1, 0.0F);
  request->deadline = deadline;
  return request;
}

}  // namespace

TEST(DeadlineTimer, EndsARequestAtItsDeadlineAndNotBefore) {
  const Watchdog watchdog("one deadline");
  CountingOwner owner;
  const SteadyClock clock;
  const auto request = due(owner, clock.now() + 3 * kMillisecond);
  Nanos expired_at = 0;
  DeadlineTimer timer(clock, [&](Request& expired) {
    expired_at = clock.now();
    end(expired);
  });
  timer.watch(*request);
  EXPECT_EQ(request->wait(anya::kNever), Request::Wait::kEnded);
  EXPECT_GE(expired_at, request->deadline);
  EXPECT_EQ(request->status.code, ErrorCode::kDeadlineExceeded);
}

TEST(DeadlineTimer, AnEarlierDeadlineDoesNotWaitForALaterOne) {
  const Watchdog watchdog("a late deadline, then an early one", std::chrono::seconds(20));
  CountingOwner owner;
  const SteadyClock clock;
  const auto late = due(owner, clock.now() + 3600 * 1000 * kMillisecond);
  const auto early = due(owner, clock.now() + 2 * kMillisecond);
  const auto past = due(owner, clock.now() - kMillisecond);
  DeadlineTimer timer(clock, end);
  timer.watch(*late);
  timer.watch(*early);
  EXPECT_EQ(early->wait(anya::kNever), Request::Wait::kEnded);
  timer.watch(*past);
  EXPECT_EQ(past->wait(anya::kNever), Request::Wait::kEnded);
  EXPECT_FALSE(late->ended());
}

// A request whose time in the queue is over already belongs to the thread from the first instant, which then sets the
// time of its second look: for ThreadSanitizer, which sees whether the watcher still reads what it has handed over.
TEST(DeadlineTimer, OwnsWhatItWatchesAtOnce) {
  const Watchdog watchdog("many short waits", std::chrono::seconds(60));
  CountingOwner owner;
  const SteadyClock clock;
  for (int round = 0; round < 10; ++round) {
    std::vector<std::unique_ptr<ValueRequest>> requests;
    for (int i = 0; i < 1000; ++i) {
      requests.push_back(due(owner, clock.now() + 100 * kMillisecond));
      requests.back()->leave_at = clock.now();
    }
    DeadlineTimer timer(clock, [&](Request& request) {
      if (clock.now() >= request.deadline) end(request);
    });
    for (const auto& request : requests) timer.watch(*request);
    for (const auto& request : requests) EXPECT_EQ(request->wait(anya::kNever), Request::Wait::kEnded);
  }
}

// The end of its time in the queue comes first; whoever has left the queue by then is looked at again at the deadline.
TEST(DeadlineTimer, LooksAtARequestAtTheEndOfItsTimeInTheQueueAndAtItsDeadline) {
  const Watchdog watchdog("two looks", std::chrono::seconds(20));
  CountingOwner owner;
  const SteadyClock clock;
  const auto request = due(owner, clock.now() + 20 * kMillisecond);
  request->leave_at = clock.now() + kMillisecond;
  const auto queued = due(owner, anya::kNever);
  queued->leave_at = clock.now() + 2 * kMillisecond;
  std::vector<Nanos> looks;
  DeadlineTimer timer(clock, [&](Request& seen) {
    const Nanos now = clock.now();
    if (&seen == request.get()) looks.push_back(now);
    if (&seen == queued.get() || now >= request->deadline) end(seen);
  });
  timer.watch(*request);
  timer.watch(*queued);
  EXPECT_EQ(queued->wait(anya::kNever), Request::Wait::kEnded);
  EXPECT_EQ(request->wait(anya::kNever), Request::Wait::kEnded);
  EXPECT_GE(looks.front(), request->leave_at);
  EXPECT_GE(looks.back(), request->deadline);
  EXPECT_EQ(looks.size(), looks.front() < request->deadline ? 2u : 1u);  // one: a machine that stood still for long
}

TEST(DeadlineTimer, ExpiresInTheOrderOfDeadlines) {
  const Watchdog watchdog("ten deadlines");
  CountingOwner owner;
  const SteadyClock clock;
  // Far enough away that all are being watched when the first is due, on a slow machine too.
  const Nanos now = clock.now() + 200 * kMillisecond;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  for (const int at : {7, 2, 9, 4, 1, 8, 3, 6, 5, 10}) {
    requests.push_back(due(owner, now + at * kMillisecond));
    requests.back()->id = static_cast<std::uint64_t>(at);
  }
  std::vector<std::uint64_t> order;
  {
    DeadlineTimer timer(clock, [&order](Request& request) {
      order.push_back(request.id);
      end(request);
    });
    for (const auto& request : requests) timer.watch(*request);
    for (const auto& request : requests) EXPECT_EQ(request->wait(anya::kNever), Request::Wait::kEnded);
  }
  EXPECT_EQ(order, (std::vector<std::uint64_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
}

TEST(DeadlineTimer, DropsWhatItWatchesWhenItGoes) {
  const Watchdog watchdog("a timer's end");
  CountingOwner owner;
  const SteadyClock clock;
  const auto request = due(owner, clock.now() + 3600 * 1000 * kMillisecond);
  {
    DeadlineTimer(clock, end).watch(*request);
  }
  EXPECT_FALSE(request->ended());
  EXPECT_EQ(owner.reclaimed(), 0);
  request->release();
  EXPECT_EQ(owner.reclaimed(), 1);
}

// Finished requests with far deadlines are let go of once as many live ones have come: otherwise each would be held for
// its deadline.
TEST(DeadlineTimer, ForgetsWhatHasEnded) {
  const Watchdog watchdog("a timer that forgets", std::chrono::seconds(20));
  CountingOwner owner;
  const SteadyClock clock;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  std::vector<std::unique_ptr<ValueRequest>> nudges;
  DeadlineTimer timer(clock, end);
  const auto watch = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      requests.push_back(due(owner, clock.now() + 3600 * 1000 * kMillisecond));
      timer.watch(*requests.back());
    }
    // A deadline in the past: when it has ended, the thread has taken all that came before it.
    nudges.push_back(due(owner, 1));
    timer.watch(*nudges.back());
    EXPECT_EQ(nudges.back()->wait(anya::kNever), Request::Wait::kEnded);
  };
  watch(1'000);
  EXPECT_EQ(owner.reclaimed(), 0);
  for (const auto& request : requests) {
    end(*request);
    request->release();
  }
  watch(1'500);
  until([&] {
    watch(1);
    return owner.reclaimed() == 1'000;
  });
  EXPECT_FALSE(requests.back()->ended());
}

// Several threads watch; every request ends, by its deadline or before it, exactly once.
TEST(DeadlineTimer, ManyThreadsWatchAndEveryRequestEnds) {
  const Watchdog watchdog("threads that watch");
  constexpr std::size_t kThreads = 3;
  constexpr std::size_t kEach = 2'000;
  CountingOwner owner;
  const SteadyClock clock;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  for (std::size_t i = 0; i < kThreads * kEach; ++i) requests.push_back(due(owner, 0));
  std::atomic<int> expired{0};
  {
    DeadlineTimer timer(clock, [&expired](Request& request) {
      expired.fetch_add(request.ended() ? 0 : 1);
      end(request);
    });
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (std::size_t i = 0; i < kEach; ++i) {
          ValueRequest& request = *requests[t * kEach + i];
          request.deadline = clock.now() + static_cast<Nanos>((i * 7919) % 1'500'000);
          timer.watch(request);
          if (i % 5 == 0) end(request);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    for (const auto& request : requests) EXPECT_EQ(request->wait(anya::kNever), Request::Wait::kEnded);
  }
  EXPECT_GT(expired.load(), 0);
  for (const auto& request : requests) request->release();
  EXPECT_EQ(owner.reclaimed(), static_cast<int>(kThreads * kEach));
}

// While threads watch, others close the timer: afterwards it holds none of the requests, whenever they came.
TEST(DeadlineTimer, HoldsNothingAfterItWasClosed) {
  const Watchdog watchdog("closing a timer under threads that watch");
  constexpr std::size_t kThreads = 2;
  constexpr std::size_t kEach = 500;
  CountingOwner owner;
  const SteadyClock clock;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  for (std::size_t i = 0; i < kThreads * kEach; ++i) requests.push_back(due(owner, clock.now() + 3'600'000'000'000));
  DeadlineTimer timer(clock, end);
  std::atomic<int> begun{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < kEach; ++i) {
        if (i == kEach / 4) begun.fetch_add(1);
        timer.watch(*requests[t * kEach + i]);
      }
    });
  }
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back([&] {
      while (begun.load() == 0) std::this_thread::yield();
      timer.close();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& request : requests) request->release();
  EXPECT_EQ(owner.reclaimed(), static_cast<int>(kThreads * kEach));  // the timer itself is still there
}
