// SPDX-License-Identifier: Apache-2.0
//
// Compiles the core's lock-free headers for relacy, as they are: include this before any of them. Inside namespace anya
// the name std then means anya::std, which has everything of the real one but its own atomic and mutex, so that
// std::atomic in those headers is relacy's: every operation is a point where the scheduler may go on with another
// thread, and a load may see any value that the memory model allows.
//
// What relacy does not model, and so is not proved here: a relaxed load sees at most the last three values of a word
// (full and bounded search: two); compilers and out-of-thin-air values; the size of a word.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <type_traits>

#include <relacy/relacy.hpp>

// relacy rewrites the language with macros; what we compile spells things out.
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert
#undef errno
#define errno (*__errno_location())  // as <cerrno> has it
#undef memory_order_relaxed
#undef memory_order_consume
#undef memory_order_acquire
#undef memory_order_release
#undef memory_order_acq_rel
#undef memory_order_seq_cst
#undef VAR

namespace anya::rehearsal {

// Threads asleep on one word. The kernel looks at the word and goes to sleep in one step; so do we.
class Sleepers {
 public:
  // True: it was woken, or gave up for no reason (which a futex may). False: its time ran out.
  bool park(bool timed) {
    rl::context& context = rl::ctx();
    const rl::thread_id_t self = context.threadx_->index_;
    threads_[count_++] = self;
    // In a search of all schedules a wake-up for no reason would hide no error that a timeout does not show.
    const rl::unpark_reason reason = context.park_current_thread(timed, context.is_random_sched(), false, $);
    if (reason != rl::unpark_reason_normal) remove(self);
    return reason != rl::unpark_reason_timeout;
  }
  void wake(int count) {
    rl::context& context = rl::ctx();
    for (; count > 0 && count_ > 0; --count) {
      // Any of them: a futex promises no order.
      const rl::thread_id_t thread = threads_[count_ == 1 ? 0 : context.rand(count_, rl::sched_type_user)];
      remove(thread);
      context.unpark_thread(thread, false, $);
    }
  }

 private:
  void remove(rl::thread_id_t thread) {
    unsigned to = 0;
    for (unsigned from = 0; from < count_; ++from) {
      if (threads_[from] != thread) threads_[to++] = threads_[from];
    }
    count_ = to;
  }

  std::array<rl::thread_id_t, 8> threads_{};
  unsigned count_ = 0;
};

constexpr rl::memory_order order(std::memory_order of) {
  switch (of) {
    case std::memory_order_relaxed:
      return rl::mo_relaxed;
    case std::memory_order_consume:
      return rl::mo_consume;
    case std::memory_order_acquire:
      return rl::mo_acquire;
    case std::memory_order_release:
      return rl::mo_release;
    case std::memory_order_acq_rel:
      return rl::mo_acq_rel;
    default:
      return rl::mo_seq_cst;
  }
}

// Plain memory: an access that another thread's access does not happen before or after is reported as a race.
template <typename T>
class Plain {
 public:
  Plain() : it_(T{}) {}
  Plain(T value) : it_(value) {}
  Plain& operator=(T value) {
    it_($).store(value);
    return *this;
  }
  operator T() const { return it_($).load(); }

 private:
  rl::var<T> it_;
};

}  // namespace anya::rehearsal

namespace anya::std {

using namespace ::std;

// The interface of std::atomic on relacy's.
template <typename T>
class atomic {
 public:
  static constexpr bool is_always_lock_free = true;

  atomic() : it_(T{}) {}
  atomic(T value) : it_(value) {}

  T load(memory_order of = memory_order_seq_cst) const { return it_.load(rehearsal::order(of), $); }
  void store(T value, memory_order of = memory_order_seq_cst) { it_.store(value, rehearsal::order(of), $); }
  T exchange(T value, memory_order of = memory_order_seq_cst) { return it_.exchange(value, rehearsal::order(of), $); }
  T fetch_add(T value, memory_order of = memory_order_seq_cst) { return it_.fetch_add(value, rehearsal::order(of), $); }
  T fetch_sub(T value, memory_order of = memory_order_seq_cst) { return it_.fetch_sub(value, rehearsal::order(of), $); }
  T fetch_or(T value, memory_order of = memory_order_seq_cst) { return it_.fetch_or(value, rehearsal::order(of), $); }
  T fetch_and(T value, memory_order of = memory_order_seq_cst) { return it_.fetch_and(value, rehearsal::order(of), $); }
  bool compare_exchange_weak(T& expected, T wanted, memory_order good, memory_order bad) {
    return it_.compare_exchange_weak(expected, wanted, rehearsal::order(good), $, rehearsal::order(bad), $);
  }

  // The futex of this word: `asleep` looks at its newest value.
  template <typename Asleep>
  bool park(const Asleep& asleep, bool timed) const {
    rl::ctx().sched();
    return !asleep(it_.debug_value()) || sleepers_.park(timed);
  }
  void wake(int count) const {
    rl::ctx().sched();
    sleepers_.wake(count);
  }

 private:
  rl::atomic<T> it_;  // first, so that a word's address is its atomic's
  mutable rehearsal::Sleepers sleepers_;
};

class mutex {
 public:
  void lock() { it_.lock($); }
  void unlock() { it_.unlock($); }

 private:
  rl::mutex it_;
};

}  // namespace anya::std

namespace anya::rehearsal {

// How long a model searches: `long` is the program's argument.
inline bool searches_long(int argc, char** argv) { return argc > 1 && ::std::string_view(argv[1]) == "long"; }

template <typename Suite, typename Scheduler>
bool search(const char* name, const char* kind, rl::test_params params) {
  rl::ostringstream said;  // relacy counts the memory of any other
  params.output_stream = &said;
  params.progress_stream = &said;
  params.execution_depth_limit = 4000;
  rl::ostringstream state;
  const bool good = rl::run_test<Suite, Scheduler>(params, state, false) == rl::test_result_success;
  ::std::cout << (good ? "passed " : "FAILED ") << name << ": " << params.stop_iteration << " schedules (" << kind;
  if (params.search_type == rl::sched_bound) ::std::cout << ", " << params.context_bound << " switches";
  ::std::cout << ")" << ::std::endl;
  if (good) return true;
  // Once more, to say what happened.
  params.initial_state = state.str();
  params.collect_history = true;
  rl::ostringstream again;
  rl::run_test<Suite, Scheduler>(params, again, true);
  ::std::cerr << said.str() << ::std::endl;
  return false;
}

// Every schedule there is: for very small suites.
template <typename Suite>
bool search_all(const char* name) {
  rl::test_params params;
  params.search_type = rl::sched_full;
  return search<Suite, rl::full_search_scheduler<Suite::params::thread_count>>(name, "every", params);
}
// Every schedule with at most so many switches away from a thread that could have gone on.
template <typename Suite>
bool search_bounded(const char* name, unsigned switches) {
  rl::test_params params;
  params.search_type = rl::sched_bound;
  params.context_bound = switches;
  return search<Suite, rl::context_bound_scheduler<Suite::params::thread_count>>(name, "bounded", params);
}
// So many schedules drawn by chance, the same ones in every run. First in a program, since they find a fault soonest.
template <typename Suite>
bool search_random(const char* name, unsigned draws) {
  rl::test_params params;
  params.search_type = rl::sched_random;
  params.iteration_count = draws;
  return search<Suite, rl::random_scheduler<Suite::params::thread_count>>(name, "random", params);
}

}  // namespace anya::rehearsal
