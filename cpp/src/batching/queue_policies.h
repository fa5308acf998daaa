// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>

#include "anya/clock.h"
#include "anya/options.h"
#include "anya/request.h"

namespace anya {

// The terms on which requests of each priority level wait. PURE and constant, so safe for any thread.
class QueuePolicies {
 public:
  static constexpr int kHighest = 1;
  static constexpr int kLowest = 255;
  static constexpr std::uint32_t kUnbounded = std::numeric_limits<std::uint32_t>::max();
  // A request without a deadline is ordered as if it had this much time: behind those in a hurry, but not for ever.
  static constexpr Nanos kPatience = 10'000'000'000;

  explicit QueuePolicies(const BatchingOptions& options = {})
      : levels_(options.priority_levels > 0 ? static_cast<int>(std::min<std::int64_t>(options.priority_levels, kLowest))
                                            : 0),
        default_level_(static_cast<int>(options.default_priority_level)) {
    const int lowest = levels_ > 0 ? levels_ : kLowest;
    if (default_level_ < kHighest || default_level_ > lowest) default_level_ = (lowest + 1) / 2;
    terms_.fill(terms_of(options.default_queue_policy));
    for (const auto& [level, policy] : options.priority_queue_policy) {
      if (level >= kHighest && level <= lowest) terms_[static_cast<std::size_t>(level)] = terms_of(policy);
    }
    for (const Terms& terms : terms_) bounded_ = bounded_ || terms.max_waiting != kUnbounded;
  }

  // 0: a request may name any level.
  [[nodiscard]] int levels() const noexcept { return levels_; }
  [[nodiscard]] int default_level() const noexcept { return default_level_; }
  [[nodiscard]] bool accepts(int priority) const noexcept { return levels_ == 0 || priority <= levels_; }
  [[nodiscard]] int level_of(int priority) const noexcept { return priority != 0 ? priority : default_level_; }

  [[nodiscard]] bool bounded() const noexcept { return bounded_; }  // some level has a bound of its own
  [[nodiscard]] std::uint32_t max_waiting(int level) const noexcept { return of(level).max_waiting; }
  // Nanoseconds; kNever: its requests may wait as long as they themselves say.
  [[nodiscard]] Nanos queue_timeout(int level) const noexcept { return of(level).timeout; }

  // Fills what the queue needs to know. REQUIRES: accepted_at and deadline are set.
  void apply(Request& request) const noexcept {
    const int level = level_of(request.priority);
    const Terms& terms = of(level);
    request.level = static_cast<std::uint8_t>(level);
    request.predicted_run = 0;
    request.leave_at = later(request.accepted_at, terms.timeout);
    const Nanos patience = std::min(request.leave_at, later(request.accepted_at, kPatience));
    const bool own_counts = terms.timeout == kNever || terms.own_counts;
    request.order = own_counts && request.deadline != kNever ? std::min(request.deadline, request.leave_at) : patience;
  }

 private:
  struct Terms {
    Nanos timeout = kNever;
    std::uint32_t max_waiting = kUnbounded;
    bool own_counts = false;
  };

  static Terms terms_of(const QueuePolicyOptions& policy) noexcept {
    Terms terms;
    if (policy.default_timeout_microseconds > 0) terms.timeout = policy.default_timeout_microseconds * 1000;
    if (policy.max_queue_size > 0) terms.max_waiting = static_cast<std::uint32_t>(policy.max_queue_size);
    terms.own_counts = policy.allow_timeout_override;
    return terms;
  }
  static Nanos later(Nanos at, Nanos by) noexcept {
    Nanos sum = 0;
    return by == kNever || __builtin_add_overflow(at, by, &sum) ? kNever : sum;
  }
  [[nodiscard]] const Terms& of(int level) const noexcept { return terms_[static_cast<std::size_t>(level)]; }

  int levels_;
  int default_level_;
  bool bounded_ = false;
  std::array<Terms, kLowest + 1> terms_{};
};

}  // namespace anya
