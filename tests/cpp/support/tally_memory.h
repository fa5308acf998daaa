// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "anya/rollout_tally.h"

namespace anya::test {

// Memory that several tallies may share, as several processes do: zeroed, and aligned as a tally asks for it.
class TallyMemory {
 public:
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {lines_->data()->bytes, lines_->size() * 64}; }
  [[nodiscard]] RolloutTally tally(Nanos window) const { return RolloutTally(bytes(), lines_, window); }

 private:
  struct alignas(64) CacheLine {
    std::byte bytes[64];
  };
  std::shared_ptr<std::vector<CacheLine>> lines_ =
      std::make_shared<std::vector<CacheLine>>((RolloutTally::bytes() + 63) / 64);
};

}  // namespace anya::test
