// SPDX-License-Identifier: Apache-2.0
#include "sync/futex.h"

#include <cerrno>
#include <climits>
#include <ctime>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace anya {

FutexResult futex_wait(const std::uint32_t* word, std::uint32_t expected, Nanos deadline) noexcept {
  timespec when{};
  timespec* timeout = nullptr;
  if (deadline != kNever) {
    const Nanos at = deadline < 0 ? 0 : deadline;
    when.tv_sec = static_cast<time_t>(at / 1'000'000'000);
    when.tv_nsec = static_cast<long>(at % 1'000'000'000);
    timeout = &when;
  }
  // WAIT_BITSET takes an absolute time on CLOCK_MONOTONIC, which is std::chrono::steady_clock here.
  const long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, expected, timeout, nullptr,
                              FUTEX_BITSET_MATCH_ANY);
  if (result == 0) return FutexResult::kWoken;
  if (errno == ETIMEDOUT) return FutexResult::kTimedOut;
  if (errno == EINTR) return FutexResult::kInterrupted;
  return FutexResult::kWoken;  // EAGAIN: the word had changed already
}

void futex_wake(const std::uint32_t* word, int count) noexcept {
  syscall(SYS_futex, word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, count, nullptr, nullptr, 0);
}

}  // namespace anya
