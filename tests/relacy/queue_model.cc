// SPDX-License-Identifier: Apache-2.0
//
// The queue under relacy: no element lost, none twice, each producer's in its order, no race on a cell's value, and
// "full" and "empty" only where they are true.
#include "rehearsal.h"
#include "sync/mpmc_queue.h"

namespace {

using Queue = anya::MpmcQueue<unsigned, anya::std::atomic, anya::rehearsal::Plain>;

// Each producer tries to push `kEach` numbers, each consumer tries to pop `kTries` times; what is left is popped at the
// end. Without loops that wait, so that every schedule ends.
template <unsigned kProducers, unsigned kConsumers, unsigned kEach, unsigned kTries, unsigned kCapacity>
struct Exchange : rl::test_suite<Exchange<kProducers, kConsumers, kEach, kTries, kCapacity>, kProducers + kConsumers> {
  Queue queue{kCapacity};
  bool pushed[kProducers][kEach] = {};
  bool popped[kProducers][kEach] = {};
  unsigned pushes_begun = 0;
  unsigned pops_done = 0;

  void take(unsigned value, unsigned (&next)[kProducers]) {
    const unsigned producer = value / 100;
    const unsigned number = value % 100;
    RL_ASSERT(producer < kProducers && number < kEach);
    RL_ASSERT(!popped[producer][number]);
    RL_ASSERT(number >= next[producer]);  // one consumer sees one producer's elements in order
    popped[producer][number] = true;
    next[producer] = number + 1;
  }

  void thread(unsigned index) {
    if (index < kProducers) {
      for (unsigned number = 0; number < kEach; ++number) {
        ++pushes_begun;
        pushed[index][number] = queue.try_push(index * 100 + number);
        if (!pushed[index][number]) --pushes_begun;
      }
      return;
    }
    unsigned next[kProducers] = {};
    for (unsigned attempt = 0; attempt < kTries; ++attempt) {
      unsigned value = 0;
      if (queue.try_pop(value)) {
        take(value, next);
        ++pops_done;
      }
    }
  }
  void invariant() { RL_ASSERT(pops_done <= pushes_begun); }
  void after() {
    unsigned next[kProducers] = {};
    unsigned value = 0;
    unsigned left = 0;
    for (; queue.try_pop(value); ++left) take(value, next);
    RL_ASSERT(left <= queue.capacity());
    unsigned held = 0;
    for (unsigned producer = 0; producer < kProducers; ++producer) {
      for (unsigned number = 0; number < kEach; ++number) {
        RL_ASSERT(pushed[producer][number] == popped[producer][number]);
        held += pushed[producer][number] ? 1 : 0;
      }
    }
    // A queue that holds nothing takes what comes: at least its capacity was pushed, or everything.
    RL_ASSERT(held >= (queue.capacity() < kProducers * kEach ? queue.capacity() : kProducers * kEach));
  }
};

// Everybody insists: all is pushed and all is popped, whoever has to wait for whom.
template <unsigned kProducers, unsigned kConsumers, unsigned kEach, unsigned kCapacity>
struct Insist : rl::test_suite<Insist<kProducers, kConsumers, kEach, kCapacity>, kProducers + kConsumers> {
  static_assert(kProducers * kEach % kConsumers == 0);
  Queue queue{kCapacity};
  bool popped[kProducers][kEach] = {};

  void thread(unsigned index) {
    rl::linear_backoff wait;
    if (index < kProducers) {
      for (unsigned number = 0; number < kEach; ++number) {
        while (!queue.try_push(index * 100 + number)) wait.yield($);
      }
      return;
    }
    unsigned next[kProducers] = {};
    for (unsigned got = 0; got < kProducers * kEach / kConsumers; ++got) {
      unsigned value = 0;
      while (!queue.try_pop(value)) wait.yield($);
      const unsigned producer = value / 100;
      const unsigned number = value % 100;
      RL_ASSERT(producer < kProducers && number < kEach);
      RL_ASSERT(!popped[producer][number] && number >= next[producer]);
      popped[producer][number] = true;
      next[producer] = number + 1;
    }
  }
  void after() {
    unsigned value = 0;
    RL_ASSERT(!queue.try_pop(value));
  }
};

}  // namespace

int main(int argc, char** argv) {
  using namespace anya::rehearsal;
  const bool longer = searches_long(argc, argv);
  const unsigned draws = longer ? 2'000'000 : 200'000;
  // One after the other: what a lost order breaks is found by the first, and the rest is not worth its time then.
  return search_random<Exchange<2, 1, 3, 3, 2>>("queue: two producers, one consumer", 2 * draws) &&
                 search_random<Exchange<3, 3, 4, 4, 4>>("queue: three producers, three consumers", draws) &&
                 search_random<Insist<2, 2, 4, 2>>("queue: two and two who wait", draws) &&
                 search_all<Exchange<1, 1, 2, 2, 2>>("queue: one producer, one consumer, two each") &&
                 search_bounded<Exchange<2, 1, 1, 1, 2>>("queue: two producers, one each", longer ? 6 : 4) &&
                 search_bounded<Exchange<1, 1, 3, 3, 2>>("queue: around the end", longer ? 5 : 3) &&
                 (!longer || search_bounded<Exchange<2, 1, 3, 3, 2>>("queue: two producers, three each", 2)) &&
                 (!longer || search_bounded<Exchange<2, 2, 1, 1, 2>>("queue: two and two", 4))
             ? 0
             : 1;
}
