// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "anya/clock.h"

namespace anya::test {

// A clock that stands still until a test moves it. Thread-safe.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(Nanos start = 1'000'000) : now_(start) {}
  [[nodiscard]] Nanos now() const noexcept override { return now_.load(); }
  void advance(Nanos by) noexcept { now_.fetch_add(by); }

 private:
  std::atomic<Nanos> now_;
};

}  // namespace anya::test
