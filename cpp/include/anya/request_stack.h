// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "anya/request.h"

namespace anya {

// A list of requests that any thread pushes on and that is taken whole, linked through the member `kNext`, which nobody
// else uses meanwhile. Taking it whole leaves no room for the ABA problem. Holds no references and owns nothing.
// Thread-safe; never blocks. After its exchange push touches nothing of the list: whoever takes the last request may
// destroy it.
template <Request* Request::* kNext>
class RequestStack {
 public:
  // True: it was empty.
  bool push(Request* request) noexcept {
    Request* newest = newest_.load(std::memory_order_relaxed);  // a guess; the exchange below confirms it
    do {
      request->*kNext = newest;
      // The taker sees what the pusher did (release), and a pusher that then looks for a sleeping taker does not miss
      // the one that looked here before (sequentially consistent).
    } while (!newest_.compare_exchange_weak(newest, request, std::memory_order_seq_cst, std::memory_order_relaxed));
    return newest == nullptr;
  }
  // Everything pushed so far, newest first.
  [[nodiscard]] Request* take_all() noexcept { return newest_.exchange(nullptr, std::memory_order_seq_cst); }
  [[nodiscard]] bool empty() const noexcept { return newest_.load(std::memory_order_seq_cst) == nullptr; }

 private:
  std::atomic<Request*> newest_{nullptr};
};

}  // namespace anya
