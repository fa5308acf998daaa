// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

namespace anya {

// One recent observation of a bucket, with the trace it belongs to. Thread-safe; neither side waits: a writer that
// meets another one leaves, a reader that meets a writer has nothing to show this time. `Atom` replaces std::atomic in
// tests that yield at random.
template <template <typename> class Atom = std::atomic>
class ExemplarSlot {
 public:
  struct Seen {
    std::uint64_t trace_high = 0;
    std::uint64_t trace_low = 0;
    std::uint64_t value = 0;
  };

  void put(const Seen& seen) noexcept {
    std::uint64_t turn = turn_.load(std::memory_order_relaxed);  // a guess; the exchange confirms it
    // Acquire: what follows stays behind it. Odd: somebody writes.
    if (turn % 2 != 0 ||
        !turn_.compare_exchange_weak(turn, turn + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
      return;
    }
    // Release: who reads one of these sees the odd turn, too.
    high_.store(seen.trace_high, std::memory_order_release);
    low_.store(seen.trace_low, std::memory_order_release);
    value_.store(seen.value, std::memory_order_release);
    turn_.store(turn + 2, std::memory_order_release);  // publishes all three
  }

  [[nodiscard]] std::optional<Seen> get() const noexcept {
    const std::uint64_t before = turn_.load(std::memory_order_acquire);  // pairs with the end of put
    if (before == 0 || before % 2 != 0) return std::nullopt;
    // Acquire: a word of a later put brings that put's odd turn with it, which the last load then sees.
    Seen seen;
    seen.trace_high = high_.load(std::memory_order_acquire);
    seen.trace_low = low_.load(std::memory_order_acquire);
    seen.value = value_.load(std::memory_order_acquire);
    if (turn_.load(std::memory_order_relaxed) != before) return std::nullopt;
    return seen;
  }

 private:
  Atom<std::uint64_t> turn_{0};  // writes begun and ended; 0: none yet
  Atom<std::uint64_t> high_{0};
  Atom<std::uint64_t> low_{0};
  Atom<std::uint64_t> value_{0};
};

}  // namespace anya
