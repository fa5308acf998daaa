// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

#include "anya/clock.h"

namespace anya::test {

// A clock that stands still until a test moves it. Thread-safe.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(Nanos start = 1'000'000) : now_(start) {}
  [[nodiscard]] Nanos now() const noexcept override {
    reads_.fetch_add(1);
    return now_.load();
  }
  void advance(Nanos by) noexcept { now_.fetch_add(by); }
  // How often it was looked at: tells how far a thread has come that looks at it once in a turn.
  [[nodiscard]] std::uint64_t reads() const noexcept { return reads_.load(); }

 private:
  std::atomic<Nanos> now_;
  mutable std::atomic<std::uint64_t> reads_{0};
};

}  // namespace anya::test
