// SPDX-License-Identifier: Apache-2.0
//
// Stands before the core's sync/futex.h where relacy schedules: threads sleep on the model's words. The word is the
// upper half of a 64-bit one, as in EventCount.
#pragma once

#include <cstdint>

#include "anya/clock.h"
#include "rehearsal.h"

namespace anya {

enum class FutexResult : std::uint8_t { kWoken, kTimedOut, kInterrupted };

inline const std::atomic<std::uint64_t>& futex_owner(const std::uint32_t* upper_half) {
  return *reinterpret_cast<const std::atomic<std::uint64_t>*>(upper_half - 1);
}

inline FutexResult futex_wait(const std::uint32_t* word, std::uint32_t expected, Nanos deadline) noexcept {
  const auto asleep = [expected](std::uint64_t now) { return static_cast<std::uint32_t>(now >> 32U) == expected; };
  return futex_owner(word).park(asleep, deadline != kNever) ? FutexResult::kWoken : FutexResult::kTimedOut;
}
inline void futex_wake(const std::uint32_t* word, int count) noexcept { futex_owner(word).wake(count); }

}  // namespace anya
