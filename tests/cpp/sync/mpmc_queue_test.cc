// SPDX-License-Identifier: Apache-2.0
#include "sync/mpmc_queue.h"

#include <thread>
#include <vector>

#include "support/chaos_atomic.h"
#include "support/check.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::MpmcQueue;

namespace {

// N producers push numbered elements, M consumers pop them: nothing is lost, nothing comes twice, and each consumer
// sees the elements of one producer in order.
template <template <typename> class Atom>
void exchange(std::size_t capacity, std::size_t producers, std::size_t consumers, std::uint32_t each,
              std::uint64_t seed) {
  MpmcQueue<std::uint64_t, Atom> queue(capacity);
  std::vector<std::vector<std::uint64_t>> got(consumers);
  std::atomic<std::uint64_t> left{producers * each};
  std::vector<std::thread> threads;
  for (std::size_t p = 0; p < producers; ++p) {
    threads.emplace_back([&, p] {
      seed_chaos(seed + p);
      for (std::uint64_t n = 0; n < each; ++n) {
        while (!queue.try_push((std::uint64_t{p} << 32U) | n)) std::this_thread::yield();
      }
    });
  }
  for (std::size_t c = 0; c < consumers; ++c) {
    threads.emplace_back([&, c] {
      seed_chaos(seed + 100 + c);
      while (left.load() > 0) {
        std::uint64_t value = 0;
        if (!queue.try_pop(value)) {
          std::this_thread::yield();
          continue;
        }
        got[c].push_back(value);
        left.fetch_sub(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  std::vector<std::vector<int>> seen(producers, std::vector<int>(each));
  int disordered = 0;
  int wrong = 0;
  for (const std::vector<std::uint64_t>& mine : got) {
    std::vector<std::int64_t> last(producers, -1);
    for (const std::uint64_t value : mine) {
      const std::size_t p = value >> 32U;
      const auto n = static_cast<std::int64_t>(value & 0xFFFFFFFFU);
      if (p >= producers || n >= each) {
        ++wrong;
        continue;
      }
      disordered += n <= last[p] ? 1 : 0;
      last[p] = n;
      ++seen[p][static_cast<std::size_t>(n)];
    }
  }
  for (const std::vector<int>& counts : seen) {
    for (const int count : counts) wrong += count == 1 ? 0 : 1;
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(disordered, 0);
  std::uint64_t extra = 0;
  EXPECT_FALSE(queue.try_pop(extra));
}

}  // namespace

TEST(MpmcQueue, HoldsTheNextPowerOfTwo) {
  const struct {
    std::size_t asked, held;
  } table[] = {{1, 2}, {2, 2}, {3, 4}, {4, 4}, {5, 8}, {1000, 1024}, {1024, 1024}};
  for (const auto& row : table) {
    MpmcQueue<int> queue(row.asked);
    EXPECT_EQ(queue.capacity(), row.held);
    for (std::size_t i = 0; i < row.held; ++i) EXPECT_TRUE(queue.try_push(static_cast<int>(i)));
    EXPECT_FALSE(queue.try_push(-1));
  }
}

TEST(MpmcQueue, RefusesAnImpossibleCapacity) {
  for (const std::size_t capacity : {std::size_t{0}, (std::size_t{1} << 31U) + 1, SIZE_MAX}) {
    bool refused = false;
    try {
      MpmcQueue<int> queue(capacity);
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    EXPECT_TRUE(refused);
  }
}

TEST(MpmcQueue, FullQueueRefusesAndKeepsWhatItHas) {
  MpmcQueue<int> queue(2);
  int value = -1;
  EXPECT_FALSE(queue.try_pop(value));
  EXPECT_EQ(value, -1);
  EXPECT_TRUE(queue.try_push(1));
  EXPECT_TRUE(queue.try_push(2));
  EXPECT_FALSE(queue.try_push(3));
  EXPECT_TRUE(queue.try_pop(value));
  EXPECT_EQ(value, 1);
  EXPECT_TRUE(queue.try_push(3));
  EXPECT_TRUE(queue.try_pop(value));
  EXPECT_EQ(value, 2);
  EXPECT_TRUE(queue.try_pop(value));
  EXPECT_EQ(value, 3);
  EXPECT_FALSE(queue.try_pop(value));
}

TEST(MpmcQueue, KeepsOrderAroundTheEndManyTimes) {
  MpmcQueue<int> queue(4);
  int next_in = 0;
  int next_out = 0;
  for (int round = 0; round < 1000; ++round) {
    for (int i = 0; i < 1 + round % 4; ++i) {
      ASSERT_TRUE(queue.try_push(next_in));
      ++next_in;
    }
    int value = 0;
    while (queue.try_pop(value)) {
      ASSERT_EQ(value, next_out);
      ++next_out;
    }
  }
  EXPECT_EQ(next_in, next_out);
}

TEST(MpmcQueue, ManyProducersAndConsumersLoseNothing) {
  const Watchdog watchdog("producers and consumers");
  exchange<std::atomic>(64, 3, 3, 50'000, 1);
  exchange<std::atomic>(2, 2, 2, 20'000, 2);
}

TEST(MpmcQueue, RandomInterleavingsLoseNothing) {
  const Watchdog watchdog("producers and consumers with a dice");
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    exchange<ChaosAtomic>(seed % 3 == 0 ? 8 : 2, 1 + seed % 3, 1 + seed % 4, 3'000, seed * 1000);
  }
}
