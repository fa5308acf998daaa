// SPDX-License-Identifier: Apache-2.0
#include "anya/rollout_tally.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <string>
#include <utility>

#include "anya/status.h"
#include "base/hash.h"

namespace anya {
namespace {

constexpr std::size_t kRows = 8;      // powers of two of rows in a run; more are one class
constexpr std::size_t kClasses = 16;  // of bytes of a row, a quarter apart, so they repeat after four octaves
constexpr std::size_t kStrata = kRows * kClasses;
constexpr std::size_t kLines = std::size_t{1} << 14U;
constexpr std::size_t kKeysInLine = 8;

// A key in one word: 32 bits of its hash (more are in its place), the window it was last seen in, what is known of it.
constexpr std::uint64_t kPresent = 1;
constexpr std::uint64_t kEverBad = 2;
constexpr std::uint64_t kBadNow = 4;
constexpr unsigned kWindowShift = 8;
constexpr std::uint64_t kWindowMask = (std::uint64_t{1} << 24U) - 1;
constexpr unsigned kTagShift = 32;

constexpr std::uint64_t window_of(std::uint64_t word) noexcept { return (word >> kWindowShift) & kWindowMask; }

std::size_t stratum_of(std::int64_t rows, std::uint16_t cost_class) noexcept {
  const auto power =
      static_cast<std::size_t>(std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(1, rows))) - 1);
  return std::min(power, kRows - 1) * kClasses + cost_class % kClasses;
}

// Eighths of an octave, cut at equal distances: 1, 1.125, 1.25, ... 1.875, 2, 2.25, ... microseconds.
std::size_t duration_bucket(Nanos duration) noexcept {
  const auto eighths = static_cast<std::uint64_t>(std::max<Nanos>(0, duration)) / 125;  // of a microsecond
  if (eighths < 8) return 0;
  const auto octave = static_cast<std::size_t>(std::bit_width(eighths)) - 4;
  return std::min(1 + octave * 8 + ((eighths >> octave) & 7U), RolloutTally::kDurations - 1);
}

using Word = std::atomic<std::uint64_t>;
using Count = std::atomic<std::uint32_t>;

struct AtomicCounts {
  Count units, bad, at_risk, first_bad;
};

// Relaxed everywhere in this file: each word stands for itself, nothing else is published through it.
std::uint32_t read(const Count& count) noexcept { return count.load(std::memory_order_relaxed); }
void reset(Count& count) noexcept { count.store(0, std::memory_order_relaxed); }
void add(Count& count) noexcept { count.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

struct RolloutTally::Region {
  struct Window {
    AtomicCounts counts[kArms][kKinds];
    Count untracked;
    Count strata[kStrata];  // runs in it, so that taking an empty one costs one look
    Count durations[kStrata][kArms][kDurations];
  };
  struct alignas(64) Line {
    Word keys[kKeysInLine];
  };
  Window windows[kWindows];
  Line lines[kLines];
};

std::size_t RolloutTally::bytes() noexcept { return sizeof(Region); }

Nanos RolloutTally::edge_of(std::size_t bucket) noexcept {
  return static_cast<Nanos>((8 + bucket % 8) << (bucket / 8)) * 125;
}

RolloutTally::RolloutTally(std::span<std::byte> memory, std::shared_ptr<void> owner, Nanos window)
    : owner_(std::move(owner)), window_(std::max<Nanos>(1, window)) {
  static_assert(Word::is_always_lock_free && Count::is_always_lock_free);
  if (memory.size() < sizeof(Region) || reinterpret_cast<std::uintptr_t>(memory.data()) % alignof(Region) != 0) {
    throw Error(ErrorCode::kConfigError, "a rollout's tally needs " + std::to_string(sizeof(Region)) +
                                             " bytes, aligned to 64; it was given " + std::to_string(memory.size()));
  }
  region_ = reinterpret_cast<Region*>(memory.data());
}

void RolloutTally::answered(Arm arm, std::uint64_t key, bool bad, Nanos compute, std::int64_t batch_rows,
                            std::uint16_t cost_class, Nanos now) noexcept {
  const std::uint64_t window = window_at(now);
  if (!count(arm, 0, key, bad, window) || bad || compute <= 0) return;
  Region::Window& counts = region_->windows[window % kWindows];
  const std::size_t stratum = stratum_of(batch_rows, cost_class);
  add(counts.durations[stratum][static_cast<std::size_t>(arm)][duration_bucket(compute)]);
  add(counts.strata[stratum]);
}

void RolloutTally::reported(Arm arm, std::size_t metric, std::uint64_t key, bool bad, Nanos now) noexcept {
  if (metric == 0 || metric >= kKinds) return;
  const std::uint64_t own = key == 0 ? 0 : hash_combine(metric, key);
  static_cast<void>(count(arm, metric, own, bad, window_at(now)));
}

// Where a key is, or could be: it may lie in either of two lines, so that they fill up evenly. Null: no room.
RolloutTally::Place RolloutTally::place_of(std::uint64_t spread, std::uint64_t window) noexcept {
  Place free{};
  for (const std::size_t at : {spread % kLines, (spread / kLines) % kLines}) {
    for (Word& word : region_->lines[at].keys) {
      const std::uint64_t seen = word.load(std::memory_order_relaxed);
      if ((seen & kPresent) != 0 && seen >> kTagShift == spread >> kTagShift) return {&word, seen, true};
      // Empty, or of a key that was never bad and has not been seen in this window.
      const bool is_free =
          (seen & kPresent) == 0 || ((seen & kEverBad) == 0 && window_of(seen) != (window & kWindowMask));
      if (is_free && free.word == nullptr) free = {&word, seen, false};
    }
  }
  return free;
}

// True: the key had not been seen in this window.
bool RolloutTally::count(Arm arm, std::size_t kind, std::uint64_t key, bool bad, std::uint64_t window) noexcept {
  Region::Window& now = region_->windows[window % kWindows];
  AtomicCounts& counts = now.counts[static_cast<std::size_t>(arm)][kind];
  bool is_new = true;
  bool was_bad = false;  // ever before
  bool turned = bad;     // bad for the first time in this window
  if (key != 0) {
    const std::uint64_t spread = fold_multiply(key, 0x9E3779B97F4A7C15U) ^ key;
    const std::uint64_t tag = spread >> kTagShift << kTagShift;
    const std::uint64_t stamp = (window & kWindowMask) << kWindowShift;
    for (;;) {
      const auto [place, found, is_ours] = place_of(spread, window);
      std::uint64_t old = found;
      if (place == nullptr) {
        add(now.untracked);  // for either version alike, so that neither is favoured
        return false;
      }
      is_new = !is_ours || window_of(old) != (window & kWindowMask);
      was_bad = is_ours && (old & kEverBad) != 0;
      turned = bad && (is_new || (old & kBadNow) == 0);
      std::uint64_t next = tag | stamp | kPresent;
      if (was_bad || bad) next |= kEverBad;
      if (bad || (!is_new && (old & kBadNow) != 0)) next |= kBadNow;
      if (next == old || place->compare_exchange_weak(old, next, std::memory_order_relaxed)) break;
    }
  }
  if (is_new) {
    add(counts.units);
    if (!was_bad) add(counts.at_risk);
  }
  if (turned) {
    add(counts.bad);
    if (!was_bad) add(counts.first_bad);
  }
  return is_new;
}

RolloutTally::Block RolloutTally::look(std::uint64_t window) const {
  const Region::Window& from = region_->windows[window % kWindows];
  Block block;
  for (std::size_t arm = 0; arm < kArms; ++arm) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
      const AtomicCounts& counts = from.counts[arm][kind];
      block.counts[arm][kind] = {read(counts.units), read(counts.bad), read(counts.at_risk), read(counts.first_bad)};
    }
  }
  block.untracked = read(from.untracked);
  for (std::size_t stratum = 0; stratum < kStrata; ++stratum) {
    if (read(from.strata[stratum]) == 0) continue;
    Durations& durations = block.durations.emplace_back();
    durations.stratum = static_cast<std::uint32_t>(stratum);
    for (std::size_t arm = 0; arm < kArms; ++arm) {
      for (std::size_t at = 0; at < kDurations; ++at) durations.runs[arm][at] = read(from.durations[stratum][arm][at]);
    }
  }
  return block;
}

void RolloutTally::clear(std::uint64_t window) noexcept {
  Region::Window& old = region_->windows[window % kWindows];
  for (auto& kinds : old.counts) {
    for (AtomicCounts& counts : kinds) {
      for (Count* count : {&counts.units, &counts.bad, &counts.at_risk, &counts.first_bad}) reset(*count);
    }
  }
  reset(old.untracked);
  for (std::size_t stratum = 0; stratum < kStrata; ++stratum) {
    if (read(old.strata[stratum]) == 0) continue;
    reset(old.strata[stratum]);
    for (auto& runs : old.durations[stratum]) {
      for (Count& count : runs) reset(count);
    }
  }
}

}  // namespace anya
