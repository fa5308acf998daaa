// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "anya/clock.h"
#include "anya/options.h"
#include "anya/stats.h"
#include "base/mutex.h"

namespace anya {

// The circuit breaker of one version: refuses its requests while most of its last calls fail or are slow, and tries a
// few after a while ("Release It!", Nygard). Time is passed in.
//
// Every request that is accepted begins, and says at its end how it went. What began before the last change of state
// says nothing of the new one. Thread-safe; a closed breaker takes no lock; only a change of state does.
class Breaker {
 public:
  enum class Call : std::uint8_t { kGood = 0, kFailed = 1, kSlow = 2, kFailedAndSlow = 3, kNothing = 4 };
  using Tag = std::uint16_t;  // a state and when it began; never 0

  explicit Breaker(const BreakerOptions& options);

  [[nodiscard]] bool closed() const noexcept { return state_of(tag_now()) == CircuitState::kClosed; }
  // Nanoseconds until it will let somebody through; 0: go on. An open one whose time is over becomes half open here.
  [[nodiscard]] Nanos refuses(Nanos now) noexcept;
  // A request was accepted; takes a probe's place when half open. Give the tag back at its end.
  [[nodiscard]] Tag began() noexcept;
  void ended(Tag tag, Call call, Nanos now) noexcept;
  [[nodiscard]] bool is_slow(Nanos run) const noexcept { return slow_ > 0 && run > slow_; }

  [[nodiscard]] CircuitStats read(Nanos now) const;

 private:
  // The state and its number (the tag), then how many calls there are in the window, failed ones, slow ones: 16 bits
  // each, from the top. Everything that must agree is in this one word.
  using Word = std::uint64_t;
  static constexpr CircuitState state_of(Tag tag) noexcept { return static_cast<CircuitState>(tag & 3U); }
  static constexpr Tag tag_of(Word word) noexcept { return static_cast<Tag>(word >> 48U); }
  static constexpr std::uint32_t calls_of(Word word) noexcept { return (word >> 32U) & 0xFFFFU; }
  static constexpr std::uint32_t failed_of(Word word) noexcept { return (word >> 16U) & 0xFFFFU; }
  static constexpr std::uint32_t slow_of(Word word) noexcept { return word & 0xFFFFU; }

  [[nodiscard]] Tag tag_now() const noexcept { return tag_of(word_.load(std::memory_order_acquire)); }
  [[nodiscard]] Word record(Tag tag, std::uint32_t bits) noexcept;
  [[nodiscard]] bool is_bad(Word word) const noexcept;
  void change(Tag from, CircuitState to, Word seen, Nanos now) noexcept;
  void enter(CircuitState to, Word seen, Nanos now) noexcept REQUIRES_LOCK(mutex_);

  const BreakerOptions options_;
  const Nanos slow_;

  // A new state is released and acquired, so that whoever sees it sees until_ and probes_ as it set them. The rest is
  // relaxed: counts stand for themselves, and who would change the state does so under the lock, if the tag is still
  // the one that it has seen.
  std::atomic<Word> word_;
  std::atomic<std::uint32_t> next_{0};                   // place in the ring
  std::vector<std::atomic<std::uint32_t>> ring_;         // tag and bits of the last calls; 0: none yet
  std::atomic<std::int32_t> probes_{0};                  // places left while half open
  std::atomic<Nanos> until_{0};                          // when an open one lets somebody through
  mutable Mutex mutex_;                                  // of changes of state
  Nanos since_ GUARDED_BY(mutex_) = 0;                   // the last change
  Nanos open_for_ GUARDED_BY(mutex_) = 0;                // how long the next opening lasts
  std::uint64_t changes_ GUARDED_BY(mutex_) = 0;         // so far
  std::vector<CircuitEvent> events_ GUARDED_BY(mutex_);  // the last ones
};

}  // namespace anya
