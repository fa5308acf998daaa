// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

namespace anya {

// Tells a process from its forked children at the price of one load: the flag lives in a page that the kernel zeroes in
// the child (MADV_WIPEONFORK). Where the kernel refuses that, it compares process ids instead.
// Thread-safe. Never blocks.
class ForkGuard {
 public:
  ForkGuard();  // throws Error(kOutOfMemory) when no page can be had
  ~ForkGuard();
  ForkGuard(const ForkGuard&) = delete;
  ForkGuard& operator=(const ForkGuard&) = delete;

  // True in the process that made this object, false in its forked children.
  [[nodiscard]] bool is_owner() const noexcept {
    return page_->load(std::memory_order_relaxed) != 0 && (wiped_on_fork_ || same_process());  // set before any fork
  }

 private:
  [[nodiscard]] bool same_process() const noexcept;

  std::atomic<int>* page_;
  bool wiped_on_fork_;
  int process_;
};

}  // namespace anya
