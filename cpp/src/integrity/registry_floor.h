// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "integrity/registry.h"

namespace anya::integrity {

// What has been seen of a registry: the least that the next one must be.
struct Floor {
  std::uint64_t version = 0;
  std::string payload_sha256;
  std::int64_t seen = 0;  // the latest time at which a registry was believed, seconds since 1970
};

// The time to believe: a clock that was set back does not make an expired registry young. Pure.
std::int64_t believed_time(const std::optional<Floor>& floor, const Registry& registry, std::int64_t clock);

// Throws kRegistryRollback for an older registry, or another one of the same version; kRegistryExpired. Gives the floor
// from now on. Pure.
Floor raise_floor(const std::optional<Floor>& floor, const Registry& registry, std::int64_t clock);

// A floor kept in a file, for all processes that share it. Thread-safe.
class FloorFile {
 public:
  explicit FloorFile(std::string path) : path_(std::move(path)) {}
  // Reads, raises, and writes it back in one step if it has changed. Blocks on the disk, and on others who do the same.
  // Throws as raise_floor does, and kTrustError when the file cannot be read, understood or written: then nothing is
  // believed, and the file is as it was.
  void raise(const Registry& registry, std::int64_t clock) const;

 private:
  [[nodiscard]] Floor raised(const std::optional<Floor>& floor, const Registry& registry, std::int64_t clock) const;

  std::string path_;
};

}  // namespace anya::integrity
