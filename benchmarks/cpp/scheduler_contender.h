// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "anya/session.h"
#include "contender.h"
#include "questions.h"

namespace anya::bench {

// The rival: a batcher in the shape of Triton's dynamic batcher, as it is usually written. Requests are handed in one
// by one to a queue under a mutex; a scheduler thread takes what waits once the instance is free, `max_rows` at most,
// and hands it to the instance's thread; that one gathers, runs, scatters and responds request by request.
// `delay`: how long the scheduler waits for a full batch after the first request; 0: not at all.
// asks and collects on one thread. Borrows session and questions. REQUIRES: everything was collected before it ends.
class SchedulerContender final : public Contender {
 public:
  SchedulerContender(Session& session, const Questions& questions, std::size_t max_rows, Nanos delay);
  ~SchedulerContender() override;

  void ask(std::span<Ask* const> asks) override;
  void collect(std::vector<Ask*>& ended) override;

 private:
  void schedule();
  void serve();
  void respond(Ask* ask);

  Session& session_;
  const Questions& questions_;
  const std::size_t max_rows_;
  const Nanos delay_;

  std::mutex mutex_;  // of the queue and of the batch that changes hands
  std::condition_variable arrived_;
  std::condition_variable freed_;
  std::condition_variable handed_;
  std::deque<Ask*> waiting_;
  std::vector<Ask*> batch_;
  bool busy_ = false;
  bool stopped_ = false;

  std::mutex responses_mutex_;
  std::condition_variable responded_;
  std::vector<Ask*> responses_;

  std::thread instance_;
  std::thread scheduler_;
};

}  // namespace anya::bench
