// SPDX-License-Identifier: Apache-2.0
#include "batching/queue_door.h"

#include <algorithm>

namespace anya {

QueueDoor::QueueDoor(const BatchingOptions& options, int instances)
    : policies_(options), target_(options.queue_delay_target_microseconds * 1000), instances_(std::max(1, instances)) {}

// Requests of this level and of higher ones.
std::uint32_t QueueDoor::ahead(int level, std::uint32_t waiting) const noexcept {
  if (!has_levels_.load(std::memory_order_relaxed)) return level < policies_.default_level() ? 0 : waiting;
  std::uint32_t counted = 0;
  std::uint32_t above = 0;
  const int lowest = policies_.levels() > 0 ? policies_.levels() : QueuePolicies::kLowest;
  for (int at = QueuePolicies::kHighest; at <= lowest; ++at) {
    counted += waiting_[static_cast<std::size_t>(at)].load(std::memory_order_relaxed);
    if (at == level) above = counted;
  }
  const int usual = policies_.default_level();
  if (!is_counted(usual) && usual <= level) above += waiting - std::min(waiting, counted);
  return std::min(above, waiting);
}

Nanos QueueDoor::predicted_wait(int level, std::uint32_t waiting) const noexcept {
  const Nanos each = request_.get();
  return each == 0 ? -1 : each * ahead(level, waiting) / instances_;
}

Status QueueDoor::check(const Request& request, std::uint32_t waiting) const noexcept {
  if (waiting == 0) return {};
  const bool overloaded = overloaded_.load(std::memory_order_relaxed);
  if (request.deadline == kNever && !overloaded && !policies_.bounded()) return {};
  const int level = policies_.level_of(request.priority);
  if (policies_.bounded()) {
    const std::uint32_t at_level = waiting_[static_cast<std::size_t>(level)].load(std::memory_order_relaxed);
    if (at_level >= policies_.max_waiting(level)) return level_full(level, at_level);
  }
  if (request.deadline == kNever && !overloaded) return {};
  const Nanos wait = predicted_wait(level, waiting);
  if (wait < 0) return {};
  if (request.deadline != kNever) {
    // Its own run holds those ahead of it, as far as they fit.
    const Nanos run = std::min(run_.get(), request_.get() * (static_cast<Nanos>(ahead(level, waiting)) + 1));
    const Nanos left = request.deadline - request.accepted_at;
    if (wait + run > left) {
      return Status::failure(ErrorCode::kDeadlineExceeded, Reason::kCannotSuffice, wait + run, left);
    }
  }
  if (!overloaded || wait <= target_) return {};
  Status status = Status::failure(ErrorCode::kOverloaded, Reason::kQueueDelay, ahead(level, waiting), target_);
  status.predicted = wait;
  return status;
}

bool QueueDoor::join(Request& request) noexcept {
  policies_.apply(request);
  if (!is_counted(request.level)) return true;
  if (!has_levels_.load(std::memory_order_relaxed)) has_levels_.store(true, std::memory_order_relaxed);
  std::atomic<std::uint32_t>& mine = waiting_[request.level];
  const std::uint32_t before = mine.fetch_add(1, std::memory_order_relaxed);
  const std::uint32_t limit = policies_.max_waiting(request.level);
  if (before < limit) return true;
  mine.fetch_sub(1, std::memory_order_relaxed);
  request.status = level_full(request.level, before);
  return false;
}

Status QueueDoor::level_full(int level, std::uint32_t waiting) const noexcept {
  Status status = Status::failure(ErrorCode::kOverloaded, Reason::kLevelFull, waiting, policies_.max_waiting(level));
  status.predicted = predicted_wait(level, waiting);
  return status;
}

void QueueDoor::leave(const Request& request) noexcept {
  if (is_counted(request.level)) waiting_[request.level].fetch_sub(1, std::memory_order_relaxed);
}

void QueueDoor::ran(std::size_t requests, Nanos duration, bool left_others) noexcept {
  if (requests == 0 || duration <= 0) return;
  const Nanos each = std::max<Nanos>(1, duration / static_cast<Nanos>(requests));
  if (left_others) {
    request_.take(each);
    run_.take(duration);
  } else if (each < request_.get()) {
    request_.take(each);
  }
}

void QueueDoor::forget() noexcept {
  request_.reset();
  run_.reset();
}

}  // namespace anya
