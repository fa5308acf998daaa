// SPDX-License-Identifier: Apache-2.0
//
// The gate under relacy, with the parts it works with (queue, event count, slots) and the steps that the batcher takes
// around them, one for one: callers that run at once or queue up, workers, and a close. A request that nobody runs
// leaves its worker and the closer asleep, which ends a schedule as a deadlock.
#include "rehearsal.h"
// after it
#include "batching/gate.h"
#include "batching/slot_set.h"
#include "sync/event_count.h"
#include "sync/mpmc_queue.h"

namespace {

using anya::EventCount;
using anya::Gate;
using anya::rehearsal::Plain;

// kRush: the close comes at any time. Otherwise only after every request has ended, since the notifications of a close
// would hide a wake-up that was lost before it.
template <unsigned kCallers, unsigned kInstances, bool kRush>
struct Service : rl::test_suite<Service<kCallers, kInstances, kRush>, kCallers + kInstances + 1> {
  static constexpr unsigned kLimit = 2;
  Gate gate{kInstances};
  anya::SlotSet slots{kInstances};
  anya::MpmcQueue<unsigned, anya::std::atomic, Plain> intake{kLimit};
  EventCount wake;
  EventCount drained;
  anya::std::atomic<bool> stopping{false};
  anya::std::mutex scheduling;
  anya::std::atomic<std::uint64_t> ended{0};
  unsigned former[kCallers] = {};  // under `scheduling`
  unsigned formed = 0;
  Plain<unsigned> in_slot[kInstances];  // whose turn it is in an instance: one thread's at a time
  unsigned accepted[kCallers] = {};
  unsigned ran[kCallers] = {};
  unsigned ran_at_close = 0;

  void end() {
    ended.fetch_add(1, std::memory_order_relaxed);
    ended.wake(1);
  }
  void run(std::size_t slot, unsigned request) {
    in_slot[slot] = in_slot[slot] + 1;
    ++ran[request];
    end();
  }
  Gate::View give_back(std::size_t slot) {
    slots.put(slot);
    const Gate::View after = gate.release();
    if (after.closed()) drained.notify_all();
    return after;
  }

  void call(unsigned request) {
    if (gate.try_enter_idle()) {
      accepted[request] = 1;
      const std::size_t slot = slots.take();
      run(slot, request);
      if (give_back(slot).waiting() > 0) wake.notify(1);
      return;
    }
    Gate::View seen(0);
    if (gate.book(1, kLimit, seen) == 0) return end();  // full or closed: refused
    accepted[request] = 1;
    rl::linear_backoff wait;
    while (!intake.try_push(request)) wait.yield($);
    if (wake.announce()) {
      const Gate::View now = gate.view();
      if (now.free() > 0) wake.wake(1);
    }
  }

  // One request per batch, so that what is left matters.
  bool next_batch(unsigned& request) {
    scheduling.lock();
    while (formed < kCallers && intake.try_pop(former[formed])) ++formed;
    const bool found = formed > 0;
    unsigned left = 0;
    if (found) {
      request = former[0];
      left = --formed;
      for (unsigned i = 0; i < left; ++i) former[i] = former[i + 1];
    }
    scheduling.unlock();
    if (!found) return false;
    gate.leave(1);
    if (left > 0 && gate.view().free() > 0) wake.notify(1);
    return true;
  }

  void work() {
    for (;;) {
      const EventCount::Key key = wake.prepare_wait();
      if (stopping.load()) {
        wake.cancel_wait();
        return;
      }
      if (gate.view().waiting() == 0 || !gate.try_take()) {
        wake.wait(key);
        continue;
      }
      const std::size_t slot = slots.take();
      unsigned request = 0;
      if (!next_batch(request)) {
        give_back(slot);
        wake.wait(key);
        continue;
      }
      wake.cancel_wait();
      do {
        run(slot, request);
      } while (next_batch(request));
      give_back(slot);
    }
  }

  void close() {
    const auto busy = [](std::uint64_t now) { return now < kCallers; };
    while (!kRush && busy(ended.fetch_add(0, std::memory_order_relaxed))) ended.park(busy, false);
    gate.close();
    for (;;) {
      const EventCount::Key key = drained.prepare_wait();
      const Gate::View now = gate.view();
      if (now.waiting() == 0 && now.free() == kInstances) {
        drained.cancel_wait();
        break;
      }
      wake.notify_all();
      drained.wait(key);
    }
    for (const unsigned times : ran) ran_at_close += times;
    stopping.store(true);
    wake.notify_all();
  }

  void thread(unsigned index) {
    if (index < kCallers) {
      call(index);
    } else if (index < kCallers + kInstances) {
      work();
    } else {
      close();
    }
  }
  void after() {
    unsigned all = 0;
    for (unsigned request = 0; request < kCallers; ++request) {
      RL_ASSERT(ran[request] == accepted[request]);
      all += ran[request];
    }
    RL_ASSERT(all == ran_at_close);  // close returned after the last run
    unsigned runs = 0;
    for (Plain<unsigned>& turn : in_slot) runs += turn;
    RL_ASSERT(runs == all);
    RL_ASSERT(gate.view().free() == kInstances && gate.view().waiting() == 0 && !wake.announce());
  }
};

}  // namespace

int main(int argc, char** argv) {
  using namespace anya::rehearsal;
  const bool longer = searches_long(argc, argv);
  const unsigned draws = longer ? 3'000'000 : 200'000;
  const unsigned switches = longer ? 4 : 2;
  return search_random<Service<3, 1, true>>("gate: three callers, one worker, a close", draws) &&
                 search_random<Service<3, 1, false>>("gate: three callers, one worker", draws) &&
                 search_random<Service<4, 2, true>>("gate: four callers, two workers, a close", draws) &&
                 search_random<Service<4, 2, false>>("gate: four callers, two workers", draws) &&
                 search_bounded<Service<1, 1, true>>("gate: one caller, a close", switches) &&
                 search_bounded<Service<1, 1, false>>("gate: one caller", switches)
             ? 0
             : 1;
}
