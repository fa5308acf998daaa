// SPDX-License-Identifier: Apache-2.0
//
// A test that waits must not hang: it ends the program with its name instead.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace anya::test {

// Aborts the program unless it is destroyed within the time. Says what was being waited for.
class Watchdog {
 public:
  explicit Watchdog(const char* what, std::chrono::seconds limit = std::chrono::seconds(100))
      : what_(what), limit_(limit), thread_([this] { watch(); }) {}
  ~Watchdog() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void watch() {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, limit_, [this] { return over_; })) return;
    std::fprintf(stderr, "watchdog: '%s' did not end within %lld s\n", what_, static_cast<long long>(limit_.count()));
    std::abort();
  }

  const char* const what_;
  const std::chrono::seconds limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::thread thread_;
};

// Gives way until something is true; a Watchdog bounds it.
template <typename Condition>
void until(Condition condition) {
  while (!condition()) std::this_thread::yield();
}

}  // namespace anya::test
