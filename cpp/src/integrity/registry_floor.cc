// SPDX-License-Identifier: Apache-2.0
#include "integrity/registry_floor.h"

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "anya/status.h"
#include "base/text.h"
#include "integrity/json.h"
#include "integrity/manifest.h"
#include "integrity/safe_open.h"
#include "integrity/small_file.h"

namespace anya::integrity {
namespace {

constexpr std::uint64_t kMaxBytes = 4096;
// How much later a registry must be seen for that alone to be written down.
constexpr std::int64_t kWorthWriting = 60;

[[noreturn]] void refuse_floor(const std::string& path, const std::string& why) {
  throw Error(ErrorCode::kTrustError, "the registry's floor " + quoted(path) + " " + why +
                                          "; without it an old registry could not be told from the newest");
}

Floor parse_floor(const std::string& path, std::string_view text) {
  try {
    const Json json = parse_json(text);
    json.only({"version", "payload_sha256", "seen"});
    Floor floor{json.integer_at("version"), json.string_at("payload_sha256"),
                static_cast<std::int64_t>(json.integer_at("seen"))};
    if (!is_sha256(floor.payload_sha256) || floor.seen < 0) throw Malformed("its values are impossible");
    return floor;
  } catch (const Malformed& fault) {
    refuse_floor(path, std::string("is damaged: ") + fault.what());
  }
}

std::string text_of(const Floor& floor) {
  return "{\"version\":" + std::to_string(floor.version) + ",\"payload_sha256\":\"" + floor.payload_sha256 +
         "\",\"seen\":" + std::to_string(floor.seen) + "}\n";
}

}  // namespace

std::int64_t believed_time(const std::optional<Floor>& floor, const Registry& registry, std::int64_t clock) {
  return std::max({clock, registry.issued, floor ? floor->seen : 0});
}

Floor raise_floor(const std::optional<Floor>& floor, const Registry& registry, std::int64_t clock) {
  if (floor && registry.version < floor->version) {
    throw Error(ErrorCode::kRegistryRollback, "the registry is version " + std::to_string(registry.version) +
                                                  ", version " + std::to_string(floor->version) +
                                                  " has been seen; put the newest one back");
  }
  if (floor && registry.version == floor->version && registry.payload_sha256 != floor->payload_sha256) {
    throw Error(ErrorCode::kRegistryRollback, "there are two registries of version " +
                                                  std::to_string(registry.version) +
                                                  ", and the other one has been seen");
  }
  const std::int64_t now = believed_time(floor, registry, clock);
  if (now >= registry.expires) {
    throw Error(ErrorCode::kRegistryExpired, "the registry, version " + std::to_string(registry.version) +
                                                 ", expired " + std::to_string(now - registry.expires) +
                                                 " seconds ago; sign a new version");
  }
  return {registry.version, registry.payload_sha256, now};
}

// Says where the floor is kept, for whoever put a registry back on purpose.
Floor FloorFile::raised(const std::optional<Floor>& floor, const Registry& registry, std::int64_t clock) const {
  try {
    return raise_floor(floor, registry, clock);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kRegistryRollback) throw;
    throw Error(error.code(), error.what() + (" (what has been seen is kept in " + quoted(path_)) + ")");
  }
}

void FloorFile::raise(const Registry& registry, std::int64_t clock) const {
  const std::string lock_path = path_ + ".lock";
  const Fd lock(::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) {
    refuse_floor(path_,
                 "cannot be locked (" + errno_text(errno) + "); name a place that can be written, TrustConfig.floor");
  }
  while (::flock(lock.get(), LOCK_EX) != 0) {  // until the descriptor closes
    if (errno != EINTR) refuse_floor(path_, "cannot be locked");
  }
  std::optional<Floor> floor;
  if (::access(path_.c_str(), F_OK) == 0 || errno != ENOENT) {
    floor = parse_floor(path_, read_small_file(path_, kMaxBytes, ErrorCode::kTrustError));
  }
  const Floor next = raised(floor, registry, clock);
  if (floor && floor->version == next.version && next.seen < floor->seen + kWorthWriting) return;
  try {
    write_atomically(path_, text_of(next), 0600, Existing::kReplace);
  } catch (const Error& error) {
    refuse_floor(path_, std::string("cannot be kept: ") + error.what());
  }
}

}  // namespace anya::integrity
