// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <mutex>

namespace anya::test {

// Where a fake run waits until its test lets it go. Open at first. Thread-safe.
class Turnstile {
 public:
  void shut() {
    const std::lock_guard lock(mutex_);
    open_ = false;
  }
  void open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // Called by the run: counts it as arrived, then blocks while shut.
  void pass() {
    std::unique_lock lock(mutex_);
    ++arrived_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return open_; });
  }
  [[nodiscard]] int arrived() {
    const std::lock_guard lock(mutex_);
    return arrived_;
  }
  // Blocks until so many runs have arrived since the beginning.
  void wait_for(int arrived) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this, arrived] { return arrived_ >= arrived; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int arrived_ = 0;
};

}  // namespace anya::test
