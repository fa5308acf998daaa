// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <vector>

#include "anya/completion_queue.h"
#include "anya/load_driver.h"
#include "driver/load_request.h"
#include "driver/recorder.h"

namespace anya {

// One thread that has many requests in flight: the closed loop and the open one.
// Used by one thread. Its end blocks until nothing is in flight.
class QueueDriver {
 public:
  QueueDriver(Model& model, const LoadPlan& plan, LoadControl& control);
  ~QueueDriver() { drain(); }
  QueueDriver(const QueueDriver&) = delete;
  QueueDriver& operator=(const QueueDriver&) = delete;

  LoadReport closed_loop();
  LoadReport open_loop();

 private:
  void add_question(Nanos asked_at);
  void send();
  void collect() noexcept;
  void drain() noexcept;
  bool wait(Nanos until) noexcept;
  [[nodiscard]] bool stopped() const noexcept { return control_.stop.load(std::memory_order_relaxed); }
  [[nodiscard]] LoadReport report() const;

  Model& model_;
  const LoadPlan& plan_;
  LoadControl& control_;
  const Nanos window_;  // the measured time: from here
  const Nanos end_;     // to here

  LoadPool pool_;  // before the queue, which holds references
  CompletionQueue queue_;
  std::vector<Request*> outgoing_;
  std::size_t next_question_ = 0;
  std::size_t in_flight_ = 0;
  std::size_t peak_ = 0;
  std::uint64_t unsent_ = 0;
  bool closed_ = false;  // the model takes no more requests
  Recorder recorder_;
};

}  // namespace anya
