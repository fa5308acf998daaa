// SPDX-License-Identifier: Apache-2.0
//
// Time as a dependency: the core reads it through this interface, so that tests move it by hand.
#pragma once

#include <chrono>
#include <cstdint>

namespace anya {

// Nanoseconds since an arbitrary start; never goes backwards.
using Nanos = std::int64_t;
inline constexpr Nanos kNever = INT64_MAX;

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual Nanos now() const noexcept = 0;
};

class SteadyClock final : public Clock {
 public:
  [[nodiscard]] Nanos now() const noexcept override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

}  // namespace anya
