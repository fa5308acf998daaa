// SPDX-License-Identifier: Apache-2.0
//
// A batcher over a fake model whose runs a test can hold, with everything around it that must outlive it.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "batching/batcher.h"
#include "support/check.h"
#include "support/fake_clock.h"
#include "support/turnstile.h"
#include "support/value_request.h"

namespace anya::test {

class BatcherRig {
 public:
  struct Options {
    int instances = 1;
    bool batchable = true;
    std::int64_t max_batch_size = 8;
    std::int64_t max_queue_size = 64;
    std::int64_t max_queue_delay_microseconds = 0;
    std::int64_t max_in_place_microseconds = 50;
    bool predictable = true;
    bool one_shape = true;
    Nanos run_time = 0;          // what each run adds to the clock
    BatchingOptions queue = {};  // of which the names above are overridden
  };
  explicit BatcherRig() : BatcherRig(Options{}) {}
  explicit BatcherRig(const Options& options)
      : options_(options),
        session_(value_schema(), [this](auto inputs, auto, auto outputs) { return run(inputs, outputs); }),
        batcher(session_, clock, setup_of()) {}
  ~BatcherRig() {
    turnstile.open();
    batcher.close();
  }
  BatcherRig(const BatcherRig&) = delete;
  BatcherRig& operator=(const BatcherRig&) = delete;

  // A request that has been admitted; the rig keeps it.
  ValueRequest& request(std::int64_t rows, float first, ValueRequest::Output output = ValueRequest::Output::kGiven) {
    requests_.push_back(std::make_unique<ValueRequest>(owner_, rows, first, output));
    requests_.back()->accepted_at = clock.now();
    return *requests_.back();
  }
  // A request that is being run by a worker and will be until the turnstile opens.
  ValueRequest& block() {
    turnstile.shut();
    ValueRequest& blocker = request(1, 1000.0F);
    EXPECT_EQ(enqueue(blocker), 1u);
    turnstile.wait_for(++blocked_);
    return blocker;
  }
  std::size_t enqueue(Request& one) {
    Request* only = &one;
    return batcher.enqueue({&only, 1});
  }
  bool run_here(const std::vector<Request*>& all) { return batcher.run_here(std::span<Request* const>(all)); }
  // Rows of each run so far.
  std::vector<std::int64_t> runs() {
    const std::lock_guard lock(mutex_);
    return runs_;
  }
  std::thread::id last_runner() {
    const std::lock_guard lock(mutex_);
    return runner_;
  }
  ModelStats stats() const {
    ModelStats stats;
    batcher.read(stats);
    return stats;
  }
  FakeSession& session() { return session_; }
  std::uint64_t ended(ErrorCode code) const { return stats().ended[static_cast<std::size_t>(code)]; }

 private:
  Batcher::Setup setup_of() const {
    BatchingOptions batching = options_.queue;
    batching.max_batch_size = options_.max_batch_size;
    batching.max_queue_size = options_.max_queue_size;
    batching.max_queue_delay_microseconds = options_.max_queue_delay_microseconds;
    batching.max_in_place_microseconds = options_.max_in_place_microseconds;
    Batcher::Setup setup;
    setup.batching = batching;
    setup.batchable = options_.batchable;
    setup.predictable = {options_.predictable};
    setup.instances = options_.instances;
    setup.name = "test";
    setup.one_shape = options_.one_shape;
    return setup;
  }
  Status run(std::span<const TensorView> inputs, std::span<OutputBuffer> outputs) {
    {
      const std::lock_guard lock(mutex_);
      runs_.push_back(inputs[0].shape[0]);
      runner_ = std::this_thread::get_id();
    }
    turnstile.pass();
    if (on_run) on_run(inputs[0].shape[0]);
    clock.advance(options_.run_time);
    return value_model(inputs, outputs);
  }

  const Options options_;
  CountingOwner owner_;
  std::vector<std::unique_ptr<ValueRequest>> requests_;
  std::mutex mutex_;
  std::vector<std::int64_t> runs_;
  std::thread::id runner_;
  int blocked_ = 0;

 public:
  FakeClock clock;
  Turnstile turnstile;
  std::function<void(std::int64_t rows)> on_run;  // set before the first run

 private:
  FakeSession session_;

 public:
  Batcher batcher;  // last: it uses all of the above
};

}  // namespace anya::test
