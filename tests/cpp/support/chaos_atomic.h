// SPDX-License-Identifier: Apache-2.0
//
// An atomic that hands the processor over at random around each operation, so that interleavings which a machine with
// few cores hardly ever shows come up in every run.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

namespace anya::test {

// A thread's dice; seeded by the test at the start of each thread, so that a run can be repeated (as far as the
// scheduler allows).
inline std::uint64_t& chaos_state() {
  thread_local std::uint64_t state = 1;
  return state;
}
inline void seed_chaos(std::uint64_t seed) { chaos_state() = seed * 0x9E3779B97F4A7C15U + 1; }
inline std::uint64_t roll() {  // xorshift64
  std::uint64_t& state = chaos_state();
  state ^= state << 13U;
  state ^= state >> 7U;
  state ^= state << 17U;
  return state >> 11U;
}

template <typename T>
class ChaosAtomic {
 public:
  ChaosAtomic(T value = T{}) noexcept : value_(value) {}  // NOLINT(google-explicit-constructor): as std::atomic

  T load(std::memory_order order) const noexcept {
    dice();
    return value_.load(order);
  }
  void store(T value, std::memory_order order) noexcept {
    dice();
    value_.store(value, order);
    dice();
  }
  bool compare_exchange_weak(T& expected, T wanted, std::memory_order good, std::memory_order bad) noexcept {
    dice();
    if (roll() % 8 == 0) {  // the weak form may fail for no reason
      expected = value_.load(bad);
      return false;
    }
    const bool done = value_.compare_exchange_weak(expected, wanted, good, bad);
    dice();
    return done;
  }

 private:
  static void dice() noexcept {
    if (roll() % 16 == 0) std::this_thread::yield();
  }

  std::atomic<T> value_;
};

}  // namespace anya::test
