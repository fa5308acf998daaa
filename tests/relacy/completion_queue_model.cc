// SPDX-License-Identifier: Apache-2.0
//
// The completion queue under relacy: every request arrives once, each pusher's in its order, with its outcome visible;
// and a consumer that sleeps whenever its descriptor is quiet gets everything. A lost signal ends a schedule as a
// deadlock.
#include "rehearsal.h"

namespace anya {

// The kernel's eventfd. Under its lock, so acquire and release.
struct Event {
  std::atomic<std::uint64_t> count{0};
};
inline Event* the_event = nullptr;

inline int eventfd(unsigned, int) { return 0; }
inline int close(int) { return 0; }
inline long write(int, const void*, std::size_t size) {
  the_event->count.fetch_add(1, std::memory_order_acq_rel);
  the_event->count.wake(1);
  return static_cast<long>(size);
}
inline long read(int, std::uint64_t* count, std::size_t size) {
  *count = the_event->count.exchange(0, std::memory_order_acq_rel);
  errno = EAGAIN;
  return *count == 0 ? -1 : static_cast<long>(size);
}

}  // namespace anya

#include "sync/completion_queue.cc"

namespace {

using anya::Request;

template <unsigned kPushers, unsigned kEach>
struct Completion : rl::test_suite<Completion<kPushers, kEach>, kPushers + 1> {
  anya::Event event;
  struct Use {
    explicit Use(anya::Event* event) { anya::the_event = event; }
  } use{&event};
  anya::CompletionQueue queue;
  Request requests[kPushers][kEach];

  void thread(unsigned index) {
    if (index < kPushers) {
      bool signal = false;
      for (unsigned number = 0; number < kEach; ++number) {
        Request& request = requests[index][number];
        request.pusher = index;
        request.number = number;
        request.outcome = 10 * index + number + 1;
        signal |= queue.push(&request);
      }
      if (signal) queue.signal();
      return;
    }
    unsigned next[kPushers] = {};
    for (unsigned got = 0; got < kPushers * kEach;) {
      event.count.park([](std::uint64_t count) { return count == 0; }, false);
      for (Request* request = queue.take_all(); request != nullptr; request = request->next_completed) {
        RL_ASSERT(request->number == next[request->pusher]);
        RL_ASSERT(request->outcome == 10 * request->pusher + request->number + 1);
        ++next[request->pusher];
        ++got;
      }
    }
  }
  void after() { RL_ASSERT(queue.take_all() == nullptr); }
};

}  // namespace

int main(int argc, char** argv) {
  using namespace anya::rehearsal;
  const bool longer = searches_long(argc, argv);
  return search_random<Completion<4, 3>>("completions: four pushers", longer ? 3'000'000 : 200'000) &&
                 search_all<Completion<1, 2>>("completions: one pusher") &&
                 search_bounded<Completion<2, 2>>("completions: two pushers", longer ? 4 : 3)
             ? 0
             : 1;
}
