// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "anya/clock.h"
#include "anya/stats.h"
#include "anya/status.h"

namespace anya {

// Where a request stands in somebody's trace: W3C's trace-id and parent-id.
struct TraceContext {
  std::uint64_t trace_high = 0;
  std::uint64_t trace_low = 0;
  std::uint64_t span = 0;
};

// What became of one traced request; plain words, so that it goes through a queue.
struct TraceEvent {
  TraceContext context;
  std::uint64_t request_id = 0;
  std::uint32_t model = 0;     // see TraceEvents::number_of
  std::int32_t instance = -1;  // with `model` and `started_at`: the run that it shared with others
  ErrorCode code = ErrorCode::kOk;
  Role role = Role::kStable;
  std::int64_t batch_rows = 0;
  Nanos accepted_at = 0;
  Nanos started_at = 0;  // 0: it never ran
  Nanos ended_at = 0;
};

// From the threads that end requests to the one that makes spans of them. Bounded: what finds no room is dropped and
// counted, so that an exporter that hangs costs nobody anything. Thread-safe; `push` never blocks or allocates.
class TraceEvents {
 public:
  static constexpr std::size_t kCapacity = 8192;
  TraceEvents();
  ~TraceEvents();
  TraceEvents(const TraceEvents&) = delete;
  TraceEvents& operator=(const TraceEvents&) = delete;

  void push(const TraceEvent& event) noexcept;
  // The next, in about the order of their ends. False: none is there.
  [[nodiscard]] bool pop(TraceEvent& event) noexcept;
  [[nodiscard]] std::uint64_t dropped() const noexcept;

  // A number for a name and version, the same for equal ones; and back.
  std::uint32_t number_of(const std::string& name, const std::string& version);
  [[nodiscard]] std::pair<std::string, std::string> name_of(std::uint32_t number) const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace anya
