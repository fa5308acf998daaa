// SPDX-License-Identifier: Apache-2.0
#include "anya/completion_queue.h"

#include <memory>
#include <thread>
#include <vector>

#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "support/check.h"
#include "support/value_request.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::CompletionQueue;
using anya::Request;

namespace {

bool is_readable(const CompletionQueue& queue) {
  pollfd ready{queue.descriptor(), POLLIN, 0};
  return poll(&ready, 1, 0) == 1;
}

}  // namespace

TEST(CompletionQueue, GivesBackTheOldestFirst) {
  CountingOwner owner;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  for (int i = 0; i < 3; ++i) requests.push_back(std::make_unique<ValueRequest>(owner, 1, 0.0F));
  CompletionQueue queue;
  EXPECT_TRUE(queue.take_all() == nullptr);
  EXPECT_TRUE(queue.push(requests[0].get()));
  EXPECT_FALSE(queue.push(requests[1].get()));
  EXPECT_FALSE(queue.push(requests[2].get()));
  Request* at = queue.take_all();
  for (const auto& request : requests) {
    ASSERT_TRUE(at == request.get());
    at = at->next_completed;
  }
  EXPECT_TRUE(at == nullptr);
  EXPECT_TRUE(queue.take_all() == nullptr);
  EXPECT_TRUE(queue.push(requests[1].get()));  // empty again: somebody must signal
  EXPECT_TRUE(queue.take_all() == requests[1].get());
}

TEST(CompletionQueue, TakingClearsTheSignal) {
  CompletionQueue queue;
  EXPECT_FALSE(is_readable(queue));
  queue.signal();
  EXPECT_TRUE(is_readable(queue));
  queue.signal();
  EXPECT_TRUE(queue.take_all() == nullptr);
  EXPECT_FALSE(is_readable(queue));
}

TEST(CompletionQueue, WaitEndsByASignalOrByItsTime) {
  const Watchdog watchdog("a completion queue's wait");
  CompletionQueue queue;
  queue.wait(0);
  queue.wait(1'000'000);
  std::thread other([&queue] { queue.signal(); });
  queue.wait(anya::kNever);
  other.join();
  EXPECT_TRUE(is_readable(queue));
}

// UndefinedBehaviorSanitizer needs a descriptor of its own to look at an exception.
#if !defined(__SANITIZE_ADDRESS__)
TEST(CompletionQueue, RefusesInWordsWithoutADescriptor) {
  rlimit before{};
  getrlimit(RLIMIT_NOFILE, &before);
  const int lowest = dup(0);  // the next free number
  close(lowest);
  rlimit none = before;
  none.rlim_cur = static_cast<rlim_t>(lowest);
  setrlimit(RLIMIT_NOFILE, &none);
  EXPECT_ERROR(anya::ErrorCode::kUnavailable, CompletionQueue());
  setrlimit(RLIMIT_NOFILE, &before);
}
#endif

// Many threads push; the one that found the list empty signals. The consumer sleeps on the descriptor alone, so a
// missing signal would leave it asleep; and there is one signal for each emptying, not one per request.
TEST(CompletionQueue, OneSignalPerBatchAndNothingLost) {
  const Watchdog watchdog("a consumer of completions");
  constexpr std::size_t kThreads = 3;
  constexpr std::size_t kEach = 5'000;
  CountingOwner owner;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  for (std::size_t i = 0; i < kThreads * kEach; ++i) {
    requests.push_back(std::make_unique<ValueRequest>(owner, 1, 0.0F));
    requests.back()->id = i;
  }
  CompletionQueue queue;
  std::atomic<std::size_t> signals{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < kEach; ++i) {
        if (queue.push(requests[t * kEach + i].get())) {
          signals.fetch_add(1);
          queue.signal();
        }
      }
    });
  }
  std::vector<int> seen(kThreads * kEach);
  std::vector<std::int64_t> last(kThreads, -1);
  std::size_t got = 0;
  std::size_t batches = 0;
  int disordered = 0;
  while (got < kThreads * kEach) {
    queue.wait(anya::kNever);
    Request* at = queue.take_all();
    batches += at != nullptr ? 1 : 0;
    for (; at != nullptr; at = at->next_completed, ++got) {
      ++seen[at->id];
      const std::size_t t = at->id / kEach;
      disordered += static_cast<std::int64_t>(at->id) <= last[t] ? 1 : 0;
      last[t] = static_cast<std::int64_t>(at->id);
    }
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(signals.load(), batches);
  EXPECT_EQ(disordered, 0);
  EXPECT_EQ(seen, std::vector<int>(kThreads * kEach, 1));
}
