// SPDX-License-Identifier: Apache-2.0
//
// What runs next, as tables: who waits, when it is asked, what leaves.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "batching/batch_former.h"
#include "batching/queue_policies.h"
#include "support/check.h"
#include "support/value_request.h"

namespace anya::test {

using Limits = BatchFormer::Limits;
using Instances = BatchFormer::Instances;

inline const anya::QueuePolicies kPolicies;

struct Arrival {
  char name;
  Nanos at = 0;
  std::int64_t rows = 1;
  int priority = 0;
  std::int64_t width = 0;       // of the shape; 0: the model's one shape
  std::uint64_t signature = 0;  // 0: made from the width
  Nanos deadline = anya::kNever;
  bool ended = false;  // claimed while it waited
};

// A former with requests named by letters. A poll reads "ab" (a batch), "ab -c" (and c was dead), "@150" (ask again at
// 150), "" (nothing).
class Table {
 public:
  explicit Table(Limits limits) : former_(limits) {}

  Table& add(const Arrival& arrival) {
    auto request = std::make_unique<ValueRequest>(owner_, 1, 0.0F);
    request->rows = arrival.rows;
    request->accepted_at = arrival.at;
    request->priority = arrival.priority;
    request->deadline = arrival.deadline;
    request->inputs[0].shape = {arrival.rows, arrival.width};
    const auto own = static_cast<std::uint64_t>(arrival.width);
    request->signature = arrival.signature != 0 ? arrival.signature : own;
    request->id = static_cast<std::uint64_t>(arrival.name);
    kPolicies.apply(*request);
    if (arrival.ended) static_cast<void>(request->claim());
    former_.add(request.get());
    requests_.push_back(std::move(request));
    return *this;
  }
  Table& add(const std::vector<Arrival>& arrivals) {
    for (const Arrival& arrival : arrivals) add(arrival);
    return *this;
  }
  std::string poll(Nanos now, Instances instances = {}) {
    std::vector<Request*> batch;
    std::vector<Request*> dead;
    const Nanos again = former_.poll(now, instances, batch, dead);
    std::string out = names(batch);
    if (!dead.empty()) out += (out.empty() ? "-" : " -") + names(dead);
    if (!out.empty()) {
      EXPECT_EQ(again, anya::kNever);
      return out;
    }
    return again == anya::kNever ? "" : "@" + std::to_string(again);
  }
  // All polls until nothing is left, separated by commas.
  std::string poll_all(Nanos now, Instances instances = {}) {
    std::string out;
    while (former_.size() > 0) out += (out.empty() ? "" : ",") + poll(now, instances);
    return out;
  }
  [[nodiscard]] std::size_t size() const { return former_.size(); }

 private:
  static std::string names(const std::vector<Request*>& requests) {
    std::string out;
    for (const Request* request : requests) out += static_cast<char>(request->id);
    return out;
  }

  CountingOwner owner_;
  std::vector<std::unique_ptr<ValueRequest>> requests_;
  BatchFormer former_;
};

inline constexpr Limits kEight{8, 0, true};
inline constexpr Limits kDelay{8, 100, true};
inline constexpr Instances kFreed{.freed = true};

}  // namespace anya::test
