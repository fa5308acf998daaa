// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <utility>

#include "anya/request.h"

namespace anya {

// Requests in the order in which they are due (Request::order, then ticket). Most come in that order already and are
// appended to a list; those that do not are kept in a pairing heap beside it. Both run through links of the requests:
// push costs a few instructions and no memory, pop the logarithm of how many came out of order.
// Owned by one thread at a time; holds what the container around it holds.
class WaitingLine {
 public:
  [[nodiscard]] static bool comes_before(const Request& a, const Request& b) noexcept {
    return a.order != b.order ? a.order < b.order : a.ticket < b.ticket;
  }

  [[nodiscard]] bool empty() const noexcept { return head_ == nullptr && strays_ == nullptr; }
  // REQUIRES: not empty.
  [[nodiscard]] Request& front() const noexcept { return *(stray_is_first() ? strays_ : head_); }

  void push(Request& request) noexcept {
    request.next_waiting = request.first_later = nullptr;
    if (head_ == nullptr) {
      head_ = tail_ = &request;
    } else if (comes_before(*tail_, request)) {
      tail_->next_waiting = &request;
      tail_ = &request;
    } else {
      strays_ = merged(strays_, &request);
    }
  }

  // REQUIRES: not empty.
  Request& pop() noexcept {
    if (!stray_is_first()) {
      Request* const first = head_;
      head_ = std::exchange(first->next_waiting, nullptr);
      return *first;
    }
    Request* const first = strays_;
    strays_ = all_merged(std::exchange(first->first_later, nullptr));
    return *first;
  }

 private:
  [[nodiscard]] bool stray_is_first() const noexcept {
    return strays_ != nullptr && (head_ == nullptr || comes_before(*strays_, *head_));
  }
  // The later of two roots becomes the other's first child.
  static Request* merged(Request* a, Request* b) noexcept {
    if (a == nullptr || b == nullptr) return a == nullptr ? b : a;
    if (comes_before(*b, *a)) std::swap(a, b);
    b->next_waiting = std::exchange(a->first_later, b);
    return a;
  }
  // In pairs from the first to the last, then the pairs from the last to the first: what keeps the heap flat.
  static Request* all_merged(Request* each) noexcept {
    Request* pairs = nullptr;
    while (each != nullptr) {
      Request* const a = each;
      Request* const b = std::exchange(a->next_waiting, nullptr);
      each = b == nullptr ? nullptr : std::exchange(b->next_waiting, nullptr);
      Request* const pair = merged(a, b);
      pair->next_waiting = pairs;
      pairs = pair;
    }
    Request* all = nullptr;
    while (pairs != nullptr) {
      Request* const pair = pairs;
      pairs = std::exchange(pair->next_waiting, nullptr);
      all = merged(all, pair);
    }
    return all;
  }

  Request* head_ = nullptr;  // sorted
  Request* tail_ = nullptr;
  Request* strays_ = nullptr;  // root of the heap
};

}  // namespace anya
