// SPDX-License-Identifier: Apache-2.0
//
// Every allocation of a batch fails once, one after the other: each time the batch ends as out of memory or right, and
// the instance works again. And what producers do takes no memory at all.
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "batching/batch.h"
#include "batching/batcher_rig.h"
#include "support/check.h"
#include "support/fake_session.h"
#include "support/value_request.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::ErrorCode;
using anya::Instance;
using anya::Request;
using anya::Status;

namespace {

// Of this thread: allocations so far, and how many more succeed.
thread_local long taken = 0;
thread_local long allowed = -1;  // below zero: all

void* take(std::size_t bytes) {
  ++taken;
  if (allowed == 0) throw std::bad_alloc();
  if (allowed > 0) --allowed;
  void* const memory = std::malloc(bytes == 0 ? 1 : bytes);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t bytes) { return take(bytes); }
void* operator new[](std::size_t bytes) { return take(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

TEST(BatchMemory, EveryAllocationMayFail) {
  for (const bool predictable : {true, false}) {
    const auto output = predictable ? ValueRequest::Output::kGiven : ValueRequest::Output::kMadeByRun;
    const std::vector<bool> shapes_known{predictable};
    int failures = 0;
    for (long until_failure = 0;; ++until_failure) {
      CountingOwner owner;
      FakeSession session(value_schema(), [](auto inputs, auto, auto outputs) {
        const long before = std::exchange(allowed, -1);  // what the model itself takes is another matter
        const Status status = value_model(inputs, outputs);
        allowed = before;
        return status;
      });
      Instance instance;
      instance.control = session.make_run_control();
      ValueRequest a(owner, 2, 1.0F, output);
      ValueRequest b(owner, 3, 50.0F, output);
      Request* const both[] = {&a, &b};
      allowed = until_failure;
      a.status = b.status = run_together(session, instance, both, shapes_known);
      const bool all_there = allowed > 0;
      allowed = -1;
      if (a.status.ok()) {
        EXPECT_TRUE(a.is_right() && b.is_right());
      } else {
        EXPECT_EQ(a.status.code, ErrorCode::kOutOfMemory);
        ++failures;
      }
      a.fill(2, 1.0F, output);
      b.fill(3, 50.0F, output);
      a.status = b.status = run_together(session, instance, both, shapes_known);
      EXPECT_TRUE(a.is_right() && b.is_right());
      if (all_there) break;
    }
    EXPECT_GT(failures, 2);
  }
}

TEST(BatchMemory, WhoEnqueuesCancelsOrIsRefusedTakesNone) {
  const Watchdog watchdog("a producer that counts");
  BatcherRig rig(BatcherRig::Options{.max_queue_size = 3});
  rig.block();
  std::vector<Request*> all;
  for (int i = 0; i < 5; ++i) all.push_back(&rig.request(1, static_cast<float>(i)));
  const Status cancelled = Status::failure(ErrorCode::kCancelled, anya::Reason::kCancelled);
  const long before = taken;
  const std::size_t accepted = rig.batcher.enqueue(all);
  const bool ended = anya::Batcher::conclude(*all[0], cancelled, 1);
  const bool refused = !rig.batcher.check(*all[4]).ok();
  EXPECT_EQ(taken, before);
  EXPECT_EQ(accepted, 3u);
  EXPECT_TRUE(ended && refused);
  rig.turnstile.open();
}
