// SPDX-License-Identifier: Apache-2.0
//
// Linux's futex, private to the process, with absolute deadlines on the monotonic clock.
#pragma once

#include <atomic>
#include <cstdint>

#include "anya/clock.h"

namespace anya {

enum class FutexResult : std::uint8_t { kWoken, kTimedOut, kInterrupted };

// Blocks while *word == expected, until woken, until `deadline` (steady clock; kNever: no end) or until a signal
// handler ran on this thread. May return kWoken for no reason: callers check their condition again.
FutexResult futex_wait(const std::uint32_t* word, std::uint32_t expected, Nanos deadline) noexcept;
// Wakes up to `count` threads that wait on the word. The word may be gone already: a stray wake is harmless.
void futex_wake(const std::uint32_t* word, int count) noexcept;

inline const std::uint32_t* futex_word(const std::atomic<std::uint32_t>& word) noexcept {
  static_assert(sizeof(word) == sizeof(std::uint32_t) && std::atomic<std::uint32_t>::is_always_lock_free);
  return reinterpret_cast<const std::uint32_t*>(&word);
}

}  // namespace anya
