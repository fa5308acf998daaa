// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "anya/options.h"
#include "anya/request.h"
#include "anya/status.h"
#include "batching/cost_model.h"
#include "batching/queue_policies.h"

namespace anya {

// Who may join a model's queue, besides its hard bound (Gate): bounds of levels, the time left against the wait that is
// predicted, and what an overloaded queue can still serve. Predictions are optimistic and made only from runs that
// left others waiting: an idle model refuses nobody, and what is promised too much the queue drops.
// Thread-safe; never blocks.
class QueueDoor {
 public:
  QueueDoor(const BatchingOptions& options, int instances);

  [[nodiscard]] const QueuePolicies& policies() const noexcept { return policies_; }
  // Whether it makes sense to queue the request, of which `waiting` are there: else a refusal.
  [[nodiscard]] Status check(const Request& request, std::uint32_t waiting) const noexcept;

  // Sets the request's terms and takes a place at its level. False: the level is full; its status says so.
  bool join(Request& request) noexcept;
  // It has left the queue, to a run or to its end. REQUIRES: it has joined.
  void leave(const Request& request) noexcept;

  // A run of so many requests. If it left nobody waiting, a fuller one could have been cheaper: that can only lower a
  // prediction.
  void ran(std::size_t requests, Nanos duration, bool left_others) noexcept;
  void forget() noexcept;
  void set_overloaded(bool overloaded) noexcept { overloaded_.store(overloaded, std::memory_order_relaxed); }

  // Until a request of this level is taken, if it came now; -1: nobody knows.
  [[nodiscard]] Nanos predicted_wait(int level, std::uint32_t waiting) const noexcept;

 private:
  [[nodiscard]] bool is_counted(int level) const noexcept {
    return level != policies_.default_level() || policies_.max_waiting(level) != QueuePolicies::kUnbounded;
  }
  [[nodiscard]] Status level_full(int level, std::uint32_t waiting) const noexcept;
  [[nodiscard]] std::uint32_t ahead(int level, std::uint32_t waiting) const noexcept;

  const QueuePolicies policies_;
  const Nanos target_;
  const int instances_;
  // Waiting, by level. Those of the default level are the rest of the gate's count, so that a model without priorities
  // counts nothing twice. Relaxed: hints, but for bounds, where each number stands for itself.
  std::array<std::atomic<std::uint32_t>, QueuePolicies::kLowest + 1> waiting_{};
  std::atomic<bool> has_levels_{false};  // somebody has been counted in waiting_
  std::atomic<bool> overloaded_{false};
  MovingMean request_;  // what one more request adds to the time of a busy instance
  MovingMean run_;      // of a busy instance
};

}  // namespace anya
