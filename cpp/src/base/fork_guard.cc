// SPDX-License-Identifier: Apache-2.0
#include "base/fork_guard.h"

#include <new>

#include <sys/mman.h>
#include <unistd.h>

#include "anya/status.h"

#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

namespace anya {
namespace {
constexpr std::size_t kPage = 4096;
}

ForkGuard::ForkGuard() : process_(static_cast<int>(getpid())) {
  void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) throw Error(ErrorCode::kOutOfMemory, "no memory for the engine's fork guard");
  wiped_on_fork_ = madvise(page, kPage, MADV_WIPEONFORK) == 0;
  page_ = new (page) std::atomic<int>(1);
}

ForkGuard::~ForkGuard() { munmap(page_, kPage); }

bool ForkGuard::same_process() const noexcept { return static_cast<int>(getpid()) == process_; }

}  // namespace anya
