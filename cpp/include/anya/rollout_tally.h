// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "anya/clock.h"

namespace anya {

// What two versions of a model answered while one takes over from the other: the counts that the judge of a rollout
// works with, by window of time. Lives in memory that its maker gives, which several processes may share: every word in
// it is atomic and stands for itself, there is no lock that a killed process could leave behind.
//
// The unit is a key, not a request: within a window a key counts once, and a key that has been bad once is from then on
// counted apart (`at_risk` and `first_bad` know only keys that never were), so that one user for whom everything fails
// is one piece of evidence. A request without a key (0) is a key of its own. Thread-safe; never blocks; allocates only
// in look().
class RolloutTally {
 public:
  enum class Arm : std::uint8_t { kOld = 0, kNew = 1 };
  static constexpr std::size_t kArms = 2;
  static constexpr std::size_t kKinds = 5;        // errors, then what the service itself reports
  static constexpr std::size_t kDurations = 190;  // eighths of octaves from 1 us to 12 s
  static constexpr std::size_t kWindows = 8;      // remembered; clear() comes sooner than the ninth

  struct Counts {
    std::uint64_t units = 0;      // keys seen
    std::uint64_t bad = 0;        // keys with something bad
    std::uint64_t at_risk = 0;    // keys seen that had never been bad before
    std::uint64_t first_bad = 0;  // of these
  };
  // Durations of runs of like size: equal rows in the run (to a power of two) and equal bytes of a row (nearly).
  struct Durations {
    std::uint32_t stratum = 0;
    std::array<std::array<std::uint32_t, kDurations>, kArms> runs{};
  };
  struct Block {
    std::array<std::array<Counts, kKinds>, kArms> counts{};
    std::vector<Durations> durations;  // strata with any
    std::uint64_t untracked = 0;       // requests left out of all counts: too many keys at once
  };

  // What the tally needs: bytes, aligned to 64. All zero at first; what another process has counted there stays.
  [[nodiscard]] static std::size_t bytes() noexcept;
  // Where a bucket of durations ends, in nanoseconds; the last one does not.
  [[nodiscard]] static Nanos edge_of(std::size_t bucket) noexcept;
  // Keeps `owner` alive. Throws Error (kConfig) when the memory is too small or not aligned.
  RolloutTally(std::span<std::byte> memory, std::shared_ptr<void> owner, Nanos window);

  [[nodiscard]] std::uint64_t window_at(Nanos now) const noexcept {
    return static_cast<std::uint64_t>(now) / static_cast<std::uint64_t>(window_);
  }
  // An answer: whether it was bad, the duration of its run (0: it had none), rows in that run, and the class of its
  // rows.
  void answered(Arm arm, std::uint64_t key, bool bad, Nanos compute, std::int64_t batch_rows, std::uint16_t cost_class,
                Nanos now) noexcept;
  // What the service says about a key: metric 1 to kKinds - 1.
  void reported(Arm arm, std::size_t metric, std::uint64_t key, bool bad, Nanos now) noexcept;
  // The counts of a window. They stay, so that a judge who dies before it has written down what they mean has lost
  // nothing; then clear() makes room for the window that comes to lie there. One process at a time does this, by
  // agreement.
  [[nodiscard]] Block look(std::uint64_t window) const;
  void clear(std::uint64_t window) noexcept;

 private:
  struct Region;
  struct Place {
    std::atomic<std::uint64_t>* word;
    std::uint64_t seen;
    bool is_ours;
  };
  Place place_of(std::uint64_t spread, std::uint64_t window) noexcept;
  bool count(Arm arm, std::size_t kind, std::uint64_t key, bool bad, std::uint64_t window) noexcept;

  const std::shared_ptr<void> owner_;
  const Nanos window_;
  Region* region_ = nullptr;
};

}  // namespace anya
