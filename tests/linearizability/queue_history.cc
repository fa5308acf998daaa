// SPDX-License-Identifier: Apache-2.0
//
// Records what threads see of the real queue: one line per operation, "thread op value called returned", for check.py.
// op: push, pop, full (a push refused), empty (a pop refused). Values are unique; times are of the steady clock.
// Usage: PROGRAM seed producers consumers each capacity plain|chaos
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "anya/clock.h"
#include "support/chaos_atomic.h"
#include "sync/mpmc_queue.h"

namespace {

using anya::test::roll;
using anya::test::seed_chaos;

struct Operation {
  const char* name;
  std::uint64_t value;
  anya::Nanos called;
  anya::Nanos returned;
};

// The fences keep an operation's own loads and stores between its two times: without them a store could still be on its
// way when the clock is read.
anya::Nanos now() {
  static const anya::SteadyClock clock;
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const anya::Nanos time = clock.now();
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return time;
}

template <template <typename> class Atom>
int record(std::uint64_t seed, std::size_t producers, std::size_t consumers, std::uint64_t each, std::size_t capacity) {
  anya::MpmcQueue<std::uint64_t, Atom> queue(capacity);
  std::vector<std::vector<Operation>> seen(producers + consumers);
  std::atomic<std::size_t> pushing{producers};
  std::vector<std::thread> threads;
  for (std::size_t index = 0; index < seen.size(); ++index) {
    threads.emplace_back([&, index] {
      seed_chaos(seed + index);
      std::vector<Operation>& mine = seen[index];
      if (index < producers) {
        for (std::uint64_t number = 0; number < each;) {
          const std::uint64_t value = index * each + number;
          const anya::Nanos called = now();
          const bool done = queue.try_push(value);
          mine.push_back({done ? "push" : "full", value, called, now()});
          number += done ? 1 : 0;
          if (!done || roll() % 16 == 0) std::this_thread::yield();
        }
        pushing.fetch_sub(1);
        return;
      }
      for (bool last = false;;) {
        std::uint64_t value = 0;
        const anya::Nanos called = now();
        const bool done = queue.try_pop(value);
        mine.push_back({done ? "pop" : "empty", value, called, now()});
        if (done) continue;
        if (last) return;
        last = pushing.load() == 0;
        std::this_thread::yield();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::size_t index = 0; index < seen.size(); ++index) {
    for (const Operation& each_one : seen[index]) {
      std::printf("%zu %s %llu %lld %lld\n", index, each_one.name, static_cast<unsigned long long>(each_one.value),
                  static_cast<long long>(each_one.called), static_cast<long long>(each_one.returned));
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "usage: %s seed producers consumers each capacity plain|chaos\n", argv[0]);
    return 2;
  }
  const auto number = [argv](int at) { return std::strtoull(argv[at], nullptr, 10); };
  const bool chaos = std::string_view(argv[6]) == "chaos";
  return (chaos ? record<anya::test::ChaosAtomic> : record<std::atomic>)(number(1), number(2), number(3), number(4),
                                                                         number(5));
}
