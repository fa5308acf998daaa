// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

namespace anya {

// Who may enter: one word that holds how many requests wait, how many instances are free, and whether the door is shut.
// Since every decision is one read-modify-write of that word, "the queue is empty and an instance is free" is decided
// at one instant, and either a newcomer sees the freed instance or the freeing thread sees the newcomer.
//
//   bit 63: closed    bit 62: an instance lingers for company    bits 32..61: waiting    bits 0..31: free instances
//
// Orders: sequentially consistent throughout. A thread that frees an instance and then looks whether its sleep key is
// still good, and one that announces a request and then looks for a free instance, must not both see the past.
// Thread-safe; never blocks.
class Gate {
 public:
  explicit Gate(std::uint32_t instances) noexcept : word_(instances) {}

  class View {
   public:
    explicit View(std::uint64_t word) noexcept : word_(word) {}
    [[nodiscard]] bool closed() const noexcept { return (word_ & kClosed) != 0; }
    [[nodiscard]] bool lingering() const noexcept { return (word_ & kLingering) != 0; }
    [[nodiscard]] std::uint32_t waiting() const noexcept {
      return static_cast<std::uint32_t>((word_ & kWaitingMask) >> 32U);
    }
    [[nodiscard]] std::uint32_t free() const noexcept { return static_cast<std::uint32_t>(word_); }

   private:
    std::uint64_t word_;
  };
  [[nodiscard]] View view() const noexcept { return View(word_.load(std::memory_order_seq_cst)); }

  // Takes an instance for a caller who wants to run at once: only if nobody waits and the door is open.
  [[nodiscard]] bool try_enter_idle() noexcept {
    std::uint64_t word = word_.load(std::memory_order_relaxed);  // a guess; the exchange confirms it
    do {
      if ((word & (kClosed | kWaitingMask)) != 0 || (word & kFreeMask) == 0) return false;
    } while (!exchange(word, word - 1));
    return true;
  }

  // Takes an instance for a worker.
  [[nodiscard]] bool try_take() noexcept {
    std::uint64_t word = word_.load(std::memory_order_relaxed);  // a guess; the exchange confirms it
    do {
      if ((word & kFreeMask) == 0) return false;
    } while (!exchange(word, word - 1));
    return true;
  }
  // Gives an instance back; the answer is what stood there then.
  View release() noexcept { return View(word_.fetch_add(1, std::memory_order_seq_cst) + 1); }

  // Books up to `count` places in a queue of `limit`; returns how many were booked, and in `seen` what stood there
  // before. 0 when the door is closed.
  [[nodiscard]] std::uint32_t book(std::uint32_t count, std::uint32_t limit, View& seen) noexcept {
    std::uint64_t word = word_.load(std::memory_order_relaxed);  // a guess; the exchange confirms it
    std::uint32_t booked = 0;
    do {
      seen = View(word);
      const std::uint32_t room = seen.waiting() < limit ? limit - seen.waiting() : 0;
      booked = count < room ? count : room;
      if (seen.closed() || booked == 0) return 0;
    } while (!exchange(word, word + (std::uint64_t{booked} << 32U)));
    return booked;
  }
  // `count` waiting requests have left the queue, to a run or to their end.
  void leave(std::uint32_t count) noexcept { word_.fetch_sub(std::uint64_t{count} << 32U, std::memory_order_seq_cst); }

  void close() noexcept { word_.fetch_or(kClosed, std::memory_order_seq_cst); }
  void set_lingering() noexcept { word_.fetch_or(kLingering, std::memory_order_seq_cst); }
  void clear_lingering() noexcept { word_.fetch_and(~kLingering, std::memory_order_seq_cst); }

 private:
  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 63U;
  static constexpr std::uint64_t kLingering = std::uint64_t{1} << 62U;
  static constexpr std::uint64_t kFreeMask = 0xFFFFFFFFU;
  static constexpr std::uint64_t kWaitingMask = ~(kClosed | kLingering | kFreeMask);

  bool exchange(std::uint64_t& expected, std::uint64_t wanted) noexcept {
    return word_.compare_exchange_weak(expected, wanted, std::memory_order_seq_cst, std::memory_order_relaxed);
  }

  alignas(64) std::atomic<std::uint64_t> word_;
};

}  // namespace anya
