// SPDX-License-Identifier: Apache-2.0
//
// The event count under relacy: nobody sleeps through a notification. A lost wake-up ends a schedule as a deadlock.
#include "rehearsal.h"
// after it
#include "sync/event_count.h"

namespace {

using anya::EventCount;
using anya::Nanos;

// Units of work are handed out one by one, each with one notification; every taker wants one. The counter is relaxed,
// so what a taker sees of it is what the event count makes it see.
template <unsigned kTakers, unsigned kGivers>
struct Handover : rl::test_suite<Handover<kTakers, kGivers>, kTakers + kGivers> {
  static_assert(kTakers % kGivers == 0);
  EventCount event;
  anya::std::atomic<unsigned> work{0};

  bool take() {
    unsigned seen = work.load(std::memory_order_relaxed);
    while (seen > 0) {
      if (work.compare_exchange_weak(seen, seen - 1, std::memory_order_relaxed, std::memory_order_relaxed)) return true;
    }
    return false;
  }

  void thread(unsigned index) {
    if (index >= kTakers) {
      for (unsigned unit = 0; unit < kTakers / kGivers; ++unit) {
        work.fetch_add(1, std::memory_order_relaxed);
        event.notify(1);
      }
      return;
    }
    for (;;) {
      const EventCount::Key key = event.prepare_wait();
      if (take()) {
        event.cancel_wait();
        return;
      }
      event.wait(key);
    }
  }
  void after() { RL_ASSERT(work.load() == 0 && !event.announce()); }  // nobody is counted as waiting
};

// One word says stop, and all who wait see what was written before it.
template <unsigned kWaiters>
struct Stop : rl::test_suite<Stop<kWaiters>, kWaiters + 1> {
  EventCount event;
  anya::std::atomic<bool> stop{false};
  anya::rehearsal::Plain<unsigned> last_words;

  void thread(unsigned index) {
    if (index == kWaiters) {
      last_words = 7;
      stop.store(true, std::memory_order_release);
      event.notify_all();
      return;
    }
    for (;;) {
      const EventCount::Key key = event.prepare_wait();
      if (stop.load(std::memory_order_acquire)) {
        event.cancel_wait();
        break;
      }
      event.wait(key);
    }
    RL_ASSERT(last_words == 7);
  }
  void after() { RL_ASSERT(!event.announce()); }
};

// A wait with a deadline ends by itself, and its end is no notification lost for the other.
struct Deadline : rl::test_suite<Deadline, 3> {
  EventCount event;
  anya::std::atomic<unsigned> work{0};

  void thread(unsigned index) {
    if (index == 0) {
      work.store(1, std::memory_order_relaxed);
      event.notify_all();
      return;
    }
    const Nanos deadline = index == 1 ? 1 : anya::kNever;
    for (;;) {
      const EventCount::Key key = event.prepare_wait();
      if (work.load(std::memory_order_relaxed) != 0) {
        event.cancel_wait();
        return;
      }
      event.wait(key, deadline);
      if (deadline != anya::kNever) return;
    }
  }
  void after() { RL_ASSERT(!event.announce()); }
};

}  // namespace

int main(int argc, char** argv) {
  using namespace anya::rehearsal;
  const bool longer = searches_long(argc, argv);
  const unsigned draws = longer ? 2'000'000 : 200'000;
  const unsigned switches = longer ? 4 : 3;
  return search_random<Handover<4, 2>>("event count: four waiters, two notifiers", draws) &&
                 search_random<Stop<4>>("event count: stop, four waiters", draws) &&
                 search_all<Handover<1, 1>>("event count: one waiter, one notifier") &&
                 search_all<Stop<1>>("event count: stop") &&
                 search_bounded<Handover<2, 1>>("event count: two waiters", switches) &&
                 search_bounded<Stop<2>>("event count: stop, two waiters", switches) &&
                 search_bounded<Deadline>("event count: a deadline", switches)
             ? 0
             : 1;
}
