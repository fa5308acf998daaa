// SPDX-License-Identifier: Apache-2.0
#include "batching/breaker.h"

#include <algorithm>

namespace anya {
namespace {

constexpr std::size_t kEventsKept = 32;

Nanos nanos(double seconds) noexcept { return static_cast<Nanos>(seconds * 1e9); }

}  // namespace

Breaker::Breaker(const BreakerOptions& options)
    : options_(options),
      slow_(nanos(options.slow_call_duration)),
      word_(Word{4} << 48U),
      ring_(static_cast<std::size_t>(options.window)),
      open_for_(nanos(options.open_duration)) {
  events_.reserve(kEventsKept);
}

Nanos Breaker::refuses(Nanos now) noexcept {
  const Tag tag = tag_now();
  switch (state_of(tag)) {
    case CircuitState::kClosed:
      return 0;
    case CircuitState::kOpen: {
      const Nanos left = until_.load(std::memory_order_relaxed) - now;
      // A clock that jumped back must not keep it open for longer than it may be.
      if (left > 0 && left <= nanos(options_.max_open_duration)) return left;
      change(tag, CircuitState::kHalfOpen, 0, now);
      return refuses(now);
    }
    case CircuitState::kHalfOpen:
      break;
  }
  // As many as there are places may be on their way at once; a few more do no harm.
  return probes_.load(std::memory_order_relaxed) > 0 ? 0 : 1;
}

Breaker::Tag Breaker::began() noexcept {
  const Tag tag = tag_now();
  if (state_of(tag) == CircuitState::kHalfOpen) probes_.fetch_sub(1, std::memory_order_relaxed);
  return tag;
}

void Breaker::ended(Tag tag, Call call, Nanos now) noexcept {
  if (call == Call::kNothing) {
    // Somebody else has to be the probe.
    if (state_of(tag) == CircuitState::kHalfOpen && tag == tag_now()) probes_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const Word seen = record(tag, static_cast<std::uint32_t>(call));
  if (tag_of(seen) != tag) return;
  if (state_of(tag) == CircuitState::kClosed) {
    if (calls_of(seen) >= static_cast<std::uint32_t>(options_.minimum_calls) && is_bad(seen)) {
      change(tag, CircuitState::kOpen, seen, now);
    }
  } else if (state_of(tag) == CircuitState::kHalfOpen) {
    if (calls_of(seen) < static_cast<std::uint32_t>(std::min(options_.probes, options_.window))) return;
    change(tag, is_bad(seen) ? CircuitState::kOpen : CircuitState::kClosed, seen, now);
  }
}

// Puts a call into the ring and counts it; what it pushes out counts no more. The ring holds exactly what is counted:
// each value that is put there is taken out once, whoever comes in between.
Breaker::Word Breaker::record(Tag tag, std::uint32_t bits) noexcept {
  const std::size_t place = next_.fetch_add(1, std::memory_order_relaxed) % ring_.size();
  const std::uint32_t gone = ring_[place].exchange(std::uint32_t{tag} << 2U | bits, std::memory_order_relaxed);
  Word word = word_.load(std::memory_order_relaxed);
  for (;;) {
    Word next = word;
    const auto step = [](std::uint32_t with) {
      return (Word{1} << 32U) | (Word{with & 1U} << 16U) | (with >> 1U & 1U);
    };
    if (tag == tag_of(word)) next += step(bits);
    if (gone >> 2U == tag_of(word)) next -= step(gone);
    if (word_.compare_exchange_weak(word, next, std::memory_order_relaxed)) return next;
  }
}

bool Breaker::is_bad(Word word) const noexcept {
  const double calls = calls_of(word);
  return failed_of(word) >= options_.failure_rate * calls ||
         (slow_ > 0 && slow_of(word) >= options_.slow_call_rate * calls);
}

void Breaker::change(Tag from, CircuitState to, Word seen, Nanos now) noexcept {
  const MutexLock lock(mutex_);
  if (tag_now() == from) enter(to, seen, now);  // else somebody was faster
}

void Breaker::enter(CircuitState to, Word seen, Nanos now) noexcept {
  if (to == CircuitState::kOpen) {
    until_.store(now + open_for_, std::memory_order_relaxed);
    open_for_ = std::min(open_for_ * 2, nanos(options_.max_open_duration));
  } else if (to == CircuitState::kHalfOpen) {
    probes_.store(static_cast<std::int32_t>(options_.probes), std::memory_order_relaxed);
  } else {
    open_for_ = nanos(options_.open_duration);
  }
  since_ = now;
  ++changes_;
  if (events_.size() == kEventsKept) events_.erase(events_.begin());
  events_.push_back({changes_, to, now, calls_of(seen), failed_of(seen), slow_of(seen)});
  const auto number = static_cast<Tag>(tag_now() >> 2U);
  const auto next = static_cast<Tag>(number == 0x3FFFU ? 1U : number + 1U);  // never 0
  const auto tag = static_cast<Tag>(static_cast<unsigned>(next) << 2U | static_cast<unsigned>(to));
  word_.store(Word{tag} << 48U, std::memory_order_release);
}

CircuitStats Breaker::read(Nanos now) const {
  const MutexLock lock(mutex_);
  const Word word = word_.load(std::memory_order_relaxed);
  CircuitStats stats;
  stats.state = state_of(tag_of(word));
  stats.calls = calls_of(word);
  stats.failed = failed_of(word);
  stats.slow = slow_of(word);
  if (stats.state == CircuitState::kOpen) {
    stats.opens_in = std::max<Nanos>(0, until_.load(std::memory_order_relaxed) - now);
  }
  stats.events = events_;
  return stats;
}

}  // namespace anya
