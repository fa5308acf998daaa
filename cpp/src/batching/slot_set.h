// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace anya {

// Which of a model's instances are free, by number. Thread-safe; take never fails for a thread that holds one of the
// gate's free instances: put comes before Gate::release, so there is a bit for each of them.
class SlotSet {
 public:
  static constexpr std::size_t kMax = 256;

  explicit SlotSet(std::size_t count) noexcept {
    for (std::size_t slot = 0; slot < count; ++slot) put(slot);
  }

  [[nodiscard]] std::size_t take() noexcept {
    for (std::size_t at = 0;; at = (at + 1) % words_.size()) {
      std::uint64_t word = words_[at].load(std::memory_order_relaxed);  // a guess; the exchange confirms it
      while (word != 0) {
        // Acquire: the taker sees what the last user of the slot left in it.
        if (words_[at].compare_exchange_weak(word, word & (word - 1), std::memory_order_acquire,
                                             std::memory_order_relaxed)) {
          return at * 64 + static_cast<std::size_t>(std::countr_zero(word));
        }
      }
    }
  }
  void put(std::size_t slot) noexcept {
    words_[slot / 64].fetch_or(std::uint64_t{1} << (slot % 64), std::memory_order_release);  // pairs with take
  }

 private:
  std::array<std::atomic<std::uint64_t>, kMax / 64> words_{};
};

}  // namespace anya
