// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "anya/clock.h"
#include "anya/request.h"
#include "anya/request_stack.h"

namespace anya {

// Where ended requests wait for one consumer, an event loop or a dispatcher thread: a list that any thread pushes on
// and the consumer takes whole, and an eventfd that turns readable once per batch, however many requests it carried.
// Thread-safe: push and signal from any thread; take_all, wait and the constructor and destructor from the consumer.
// A pusher signals after it has pushed: whoever destroys the queue makes sure first that no pusher is left (by closing
// the model), not only that everything was taken. Nothing blocks but wait. Owns its descriptor; carries one reference
// of each request in it.
class CompletionQueue {
 public:
  CompletionQueue();  // throws Error(kUnavailable) when no descriptor can be had
  ~CompletionQueue();
  CompletionQueue(const CompletionQueue&) = delete;
  CompletionQueue& operator=(const CompletionQueue&) = delete;

  // True: the list was empty, so somebody must signal() once the pusher is done pushing.
  [[nodiscard]] bool push(Request* request) noexcept { return ended_.push(request); }
  void signal() noexcept;

  // Everything pushed so far, oldest first, linked by Request::next_completed; clears the signal.
  Request* take_all() noexcept;
  // Blocks until there may be something to take, or until `timeout` has passed (kNever: no end).
  void wait(Nanos timeout) noexcept;
  [[nodiscard]] int descriptor() const noexcept { return descriptor_; }

 private:
  RequestStack<&Request::next_completed> ended_;
  int descriptor_;
};

}  // namespace anya
