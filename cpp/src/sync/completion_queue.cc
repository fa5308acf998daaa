// SPDX-License-Identifier: Apache-2.0
#include "anya/completion_queue.h"

#include <algorithm>
#include <cerrno>
#include <climits>

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "anya/status.h"

namespace anya {

CompletionQueue::CompletionQueue() : descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (descriptor_ < 0) {
    throw Error(ErrorCode::kUnavailable, errno == EMFILE || errno == ENFILE
                                             ? "no file descriptor left for the completion event; raise the limit of "
                                               "open files (ulimit -n)"
                                             : "the completion event could not be made (eventfd)");
  }
}

CompletionQueue::~CompletionQueue() { close(descriptor_); }

// NOLINTNEXTLINE(readability-make-member-function-const): it changes what the kernel keeps for it
void CompletionQueue::signal() noexcept {
  const std::uint64_t one = 1;
  // The counter cannot overflow before 2^64 - 1 signals, so the only failure is an interrupted call.
  while (write(descriptor_, &one, sizeof(one)) < 0 && errno == EINTR) {
  }
}

Request* CompletionQueue::take_all() noexcept {
  std::uint64_t count = 0;
  while (read(descriptor_, &count, sizeof(count)) < 0 && errno == EINTR) {
  }
  Request* newest = ended_.take_all();
  Request* oldest = nullptr;
  while (newest != nullptr) {
    Request* const next = newest->next_completed;
    newest->next_completed = oldest;
    oldest = newest;
    newest = next;
  }
  return oldest;
}

void CompletionQueue::wait(Nanos timeout) noexcept {
  pollfd ready{descriptor_, POLLIN, 0};
  const Nanos rounded_up = timeout == kNever ? -1 : (timeout + 999'999) / 1'000'000;
  poll(&ready, 1, static_cast<int>(std::min<Nanos>(rounded_up, INT_MAX)));
}

}  // namespace anya
