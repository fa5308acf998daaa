// SPDX-License-Identifier: Apache-2.0
#include "batching/batch_watch.h"

#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "support/check.h"
#include "support/fake_session.h"
#include "support/value_request.h"

using namespace anya::test;
using anya::BatchWatch;
using anya::Request;

namespace {

struct Rig {
  Rig() { watch.use(control); }

  CountingOwner owner;
  ValueRequest a{owner, 1, 0.0F};
  ValueRequest b{owner, 1, 0.0F};
  const std::array<Request*, 2> both{&a, &b};
  FakeRunControl control;
  BatchWatch watch;
};

// What a thread that ends a request does.
void end(BatchWatch& watch, Request& request) {
  if (!request.claim()) return;
  if (request.running_on() != Request::kNotRunning) watch.stop_if_dead(7);
}

}  // namespace

TEST(BatchWatch, ARunIsStoppedWhenTheLastMemberHasEnded) {
  Rig rig;
  EXPECT_TRUE(rig.watch.begin(rig.both, 3));
  EXPECT_EQ(rig.a.running_on(), 3);
  end(rig.watch, rig.a);
  EXPECT_FALSE(rig.control.terminated());
  EXPECT_EQ(rig.watch.stopped_at(), 0);
  end(rig.watch, rig.b);
  EXPECT_TRUE(rig.control.terminated());
  EXPECT_EQ(rig.watch.stopped_at(), 7);
}

TEST(BatchWatch, TheNextRunIsNotStopped) {
  Rig rig;
  EXPECT_TRUE(rig.watch.begin(rig.both, 0));
  end(rig.watch, rig.a);
  end(rig.watch, rig.b);
  EXPECT_TRUE(rig.watch.end());
  EXPECT_FALSE(rig.control.terminated());
  EXPECT_EQ(rig.watch.stopped_at(), 0);
  ValueRequest next(rig.owner, 1, 0.0F);
  const std::array<Request*, 1> alone{&next};
  EXPECT_TRUE(rig.watch.begin(alone, 0));
  rig.watch.stop_if_dead(9);  // a late look of somebody who ended the one before
  EXPECT_FALSE(rig.control.terminated());
  EXPECT_FALSE(rig.watch.end());
}

TEST(BatchWatch, ALookAfterTheRunStopsNothing) {
  Rig rig;
  EXPECT_TRUE(rig.watch.begin(rig.both, 0));
  EXPECT_FALSE(rig.watch.end());
  end(rig.watch, rig.a);
  end(rig.watch, rig.b);
  EXPECT_FALSE(rig.control.terminated());
}

TEST(BatchWatch, NobodyAliveNoRun) {
  Rig rig;
  EXPECT_TRUE(rig.a.claim());
  EXPECT_TRUE(rig.watch.begin(rig.both, 0));  // one is alive
  EXPECT_FALSE(rig.watch.end());
  EXPECT_TRUE(rig.b.claim());
  EXPECT_FALSE(rig.watch.begin(rig.both, 0));
  rig.watch.stop_if_dead(9);
  EXPECT_FALSE(rig.control.terminated());
}

// Whoever ends the last member, while the run begins: it is not run, or it is stopped; and the next one is not.
TEST(BatchWatch, AnEndIsNeverMissedAndNeverHitsAnotherRun) {
  CountingOwner owner;
  FakeRunControl control;
  BatchWatch watch;
  watch.use(control);
  for (int round = 0; round < 2000; ++round) {
    ValueRequest a(owner, 1, 0.0F);
    ValueRequest b(owner, 1, 0.0F);
    ValueRequest next(owner, 1, 0.0F);
    const std::array<Request*, 2> both{&a, &b};
    const std::array<Request*, 1> alone{&next};
    std::atomic<int> ready{0};
    const auto ender = [&](Request& request) {
      ready.fetch_add(1);
      while (ready.load() < 3) std::this_thread::yield();  // three threads, and fewer cores perhaps
      end(watch, request);
    };
    std::thread first(ender, std::ref(a));
    std::thread second(ender, std::ref(b));
    ready.fetch_add(1);
    while (ready.load() < 3) std::this_thread::yield();
    if (watch.begin(both, 0)) {
      while (!control.terminated()) std::this_thread::yield();  // hangs if an end was missed
      EXPECT_TRUE(watch.end());
    }
    EXPECT_TRUE(watch.begin(alone, 0));
    first.join();
    second.join();
    EXPECT_FALSE(control.terminated());
    EXPECT_FALSE(watch.end());
  }
}
