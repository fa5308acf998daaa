// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <vector>

#include "anya/completion_queue.h"
#include "anya/request.h"
#include "anya/session.h"
#include "batching/batch_watch.h"
#include "stats/drift_monitor.h"

namespace anya {

// Memory that grows and is reused, aligned for vector loads. Owned by one thread at a time.
class Slab {
 public:
  // At least `bytes`; what it held before is lost when it has to grow. Null: no memory.
  [[nodiscard]] std::byte* reserve(std::size_t bytes) noexcept;

 private:
  struct Free {
    void operator()(void* memory) const noexcept { std::free(memory); }
  };
  std::unique_ptr<std::byte, Free> memory_;
  std::size_t capacity_ = 0;
};

// What one instance owns: the switch that stops its run, and the memory in which requests meet.
// Owned by the thread that holds the instance.
struct Instance {
  std::unique_ptr<RunControl> control;
  BatchWatch watch;  // any thread may use it
  std::vector<Slab> input_slabs;
  std::vector<Slab> output_slabs;
  std::vector<TensorView> inputs;
  std::vector<OutputBuffer> outputs;
  std::vector<Request*> batch;
  std::vector<Request*> dead;
  std::vector<DriftMonitor::Asker> askers;
  bool left_others = false;  // when its batch was formed, others went on waiting
  bool in_place = false;     // its holder is who asked
  std::vector<CompletionQueue*> signals;
};

// A request without rows of its own counts as one.
inline std::int64_t rows_of(std::span<Request* const> requests) noexcept {
  std::int64_t rows = 0;
  for (const Request* request : requests) rows += std::max<std::int64_t>(1, request->rows);
  return rows;
}

// Runs one request where it lies: its own inputs, its own outputs. Never throws.
Status run_alone(Session& session, Instance& instance, Request& request) noexcept;

// Runs several requests as one: rows gathered along axis 0 in order, outputs scattered back row by row.
// `predictable[i]`: output i of the schema has a shape that follows from the rows.
// What came out lies in the instance's slabs and outputs until `let_go_of_outputs`.
// REQUIRES: all may share a run (BatchFormer's rule). Never throws.
Status run_together(Session& session, Instance& instance, std::span<Request* const> requests,
                    const std::vector<bool>& predictable) noexcept;
// What the session made goes back to it.
void let_go_of_outputs(Instance& instance) noexcept;

}  // namespace anya
