// SPDX-License-Identifier: Apache-2.0
//
// Why a batch is as large as it is, as the former says.
#include <deque>
#include <vector>

#include "batching/batch_former.h"
#include "support/check.h"

using anya::BatchFormer;
using anya::Dispatch;
using anya::Request;

namespace {

struct Owner final : anya::RequestOwner {
  void reclaim(Request* /*request*/) noexcept override {}
};

// What the former says after one poll with so many requests of one row waiting.
Dispatch of(std::int64_t max_rows, bool batchable, int waiting) {
  Owner owner;
  std::deque<Request> requests;
  BatchFormer former({max_rows, 0, batchable});
  for (int i = 0; i < waiting; ++i) {
    Request& request = requests.emplace_back(owner);
    request.rows = 1;
    request.accepted_at = i + 1;
    former.add(&request);
  }
  std::vector<Request*> batch;
  std::vector<Request*> dead;
  former.poll(1000, {}, batch, dead);
  return former.dispatch();
}

}  // namespace

TEST(Dispatch, AllThatWaitedLeftBecauseAnInstanceWasIdle) {
  EXPECT_EQ(of(8, true, 1), Dispatch::kIdle);
  EXPECT_EQ(of(8, true, 7), Dispatch::kIdle);
  EXPECT_EQ(of(8, false, 1), Dispatch::kIdle);
}

TEST(Dispatch, ABatchThatTakesNoMoreIsFull) {
  EXPECT_EQ(of(8, true, 8), Dispatch::kFull);
  EXPECT_EQ(of(8, true, 20), Dispatch::kFull);
  EXPECT_EQ(of(8, false, 2), Dispatch::kFull);
}
