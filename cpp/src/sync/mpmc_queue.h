// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <type_traits>

namespace anya {

// A bounded queue for any number of producers and consumers.
//
// Promise: try_push and try_pop never block and take no lock; elements pushed by one thread are popped in its order;
// each
//   element is popped exactly once. Memory is taken once, in the constructor.
// Element: must be trivially copyable (we carry pointers), which the static_assert holds.
// Failure: try_push is false when the cell it would use has not been freed yet, try_pop when the next cell has not been
//   filled yet. So a pop can miss an element whose push has begun but not returned; a caller that must not miss it is
//   woken by the pusher afterwards.
// Shutdown: none here; sleeping and waking are EventCount's subject.
// Proof: `Atom` replaces std::atomic in tests that schedule every interleaving (relacy) or yield at random; `Plain`
//   holds the values, for a test that looks for races on them.
// Form: the array queue of D. Vyukov (2010): each cell carries the ticket that may use it next.
template <typename T, template <typename> class Atom = std::atomic,
          template <typename> class Plain = std::type_identity_t>
class MpmcQueue {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  // Holds at least `capacity` elements: the next power of two, at least 2 (with one cell, full and empty look alike).
  // REQUIRES: 1 <= capacity <= 2^31, else std::invalid_argument.
  explicit MpmcQueue(std::size_t capacity) : mask_(std::bit_ceil(checked(capacity)) - 1), cells_(new Cell[mask_ + 1]) {
    for (std::size_t i = 0; i <= mask_; ++i) cells_[i].ticket.store(i, std::memory_order_relaxed);  // not shared yet
  }

  bool try_push(T value) noexcept {
    std::size_t at = tail_.load(std::memory_order_relaxed);  // a guess; the exchange below confirms it
    for (;;) {
      Cell& cell = cells_[at & mask_];
      const std::size_t ticket = cell.ticket.load(std::memory_order_acquire);  // pairs with the popper's release
      const auto lead = static_cast<std::ptrdiff_t>(ticket - at);
      if (lead == 0) {
        // Relaxed: the position carries no data; the cell's ticket publishes the value.
        if (tail_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed, std::memory_order_relaxed)) {
          cell.value = value;
          cell.ticket.store(at + 1, std::memory_order_release);
          return true;
        }
      } else if (lead < 0) {
        return false;
      } else {
        at = tail_.load(std::memory_order_relaxed);
      }
    }
  }

  bool try_pop(T& value) noexcept {
    std::size_t at = head_.load(std::memory_order_relaxed);  // a guess; the exchange below confirms it
    for (;;) {
      Cell& cell = cells_[at & mask_];
      const std::size_t ticket = cell.ticket.load(std::memory_order_acquire);  // pairs with the pusher's release
      const auto lead = static_cast<std::ptrdiff_t>(ticket - (at + 1));
      if (lead == 0) {
        // Relaxed: as above.
        if (head_.compare_exchange_weak(at, at + 1, std::memory_order_relaxed, std::memory_order_relaxed)) {
          value = cell.value;
          cell.ticket.store(at + mask_ + 1, std::memory_order_release);
          return true;
        }
      } else if (lead < 0) {
        return false;
      } else {
        at = head_.load(std::memory_order_relaxed);
      }
    }
  }

  [[nodiscard]] std::size_t capacity() const noexcept { return mask_ + 1; }

 private:
  struct Cell {
    Atom<std::size_t> ticket{0};
    Plain<T> value{};
  };

  static std::size_t checked(std::size_t capacity) {
    if (capacity < 1 || capacity > (std::size_t{1} << 31U)) throw std::invalid_argument("queue capacity");
    return capacity < 2 ? 2 : capacity;
  }

  const std::size_t mask_;
  const std::unique_ptr<Cell[]> cells_;
  // Producers and consumers each move their own line.
  alignas(64) Atom<std::size_t> tail_{0};
  alignas(64) Atom<std::size_t> head_{0};
};

}  // namespace anya
