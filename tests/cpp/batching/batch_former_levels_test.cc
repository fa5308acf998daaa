// SPDX-License-Identifier: Apache-2.0
//
// Which batches levels and deadlines make.
#include <memory>
#include <string>
#include <vector>

#include "batching/batch_former_table.h"
#include "batching/cost_model.h"

using namespace anya::test;
using anya::BatchFormer;
using anya::Nanos;
using anya::Request;

// What would be answered too late gives its place to others, as long as there are others.
TEST(BatchFormer, WhatCannotBeInTimeGivesWayWhenMoreWaitThanARunTakes) {
  anya::CostModel cost(true);
  for (const std::int64_t rows : {1, 2}) cost.of(0).seed(rows, 1000);  // with room: 1250
  anya::CostModel one_is_short(true);
  one_is_short.of(0).seed(1, 400);  // with room: 500
  one_is_short.of(0).seed(2, 700);  // with room: 875
  constexpr Limits kTwo{2, 0, true};
  constexpr Nanos kLongAgo = -100'000;  // it had time enough for any run
  const struct {
    const char* fact;
    Limits limits;
    const anya::CostModel* cost;
    std::vector<Arrival> waiting;
    const char* first;
  } table[] = {
      {"the late one", kTwo, &cost, {{'a', kLongAgo, 1, 0, 0, 0, 1259}, {'b', 2}, {'c', 3}}, "bc -a"},
      {"just in time", kTwo, &cost, {{'a', kLongAgo, 1, 0, 0, 0, 1260}, {'b', 2}, {'c', 3}}, "ab"},
      {"there is room for all", kTwo, &cost, {{'a', kLongAgo, 1, 0, 0, 0, 1259}, {'b', 2}}, "ab"},
      {"nothing is known", kTwo, nullptr, {{'a', kLongAgo, 1, 0, 0, 0, 1259}, {'b', 2}, {'c', 3}}, "ab"},
      {"all are late: those with most time left run, and something is learned",
       kTwo,
       &cost,
       {{'a', kLongAgo, 1, 0, 0, 0, 900}, {'b', 2, 1, 0, 0, 0, 950}, {'c', 3, 1, 0, 0, 0, 990}},
       "cb -a"},
      {"the late and the dead",
       kTwo,
       &cost,
       {{'a', kLongAgo, 1, 0, 0, 0, 900}, {'b', 2, 1, 0, 0, 0, anya::kNever, true}, {'c', 3}, {'d', 4}},
       "cd -ba"},
      {"who goes before others has a shorter run",
       kTwo,
       &one_is_short,
       {{'a', kLongAgo, 1, 1, 0, 0, 510}, {'b', 2}, {'c', 3}},
       "a"},
      {"unless that is too long as well",
       kTwo,
       &one_is_short,
       {{'a', kLongAgo, 1, 1, 0, 0, 509}, {'b', 2}, {'c', 3}},
       "bc -a"},
      {"nobody goes after it",
       kTwo,
       &one_is_short,
       {{'a', kLongAgo, 1, 1, 0, 0, 510}, {'b', 2, 1, 1}, {'c', 3, 1, 1}},
       "bc -a"},
      {"without batching", {8, 0, false}, &cost, {{'a', kLongAgo, 1, 0, 0, 0, 1259}, {'b', 2}, {'c', 3}}, "b -a"},
  };
  for (const auto& row : table) {
    Table waiting(row.limits);
    waiting.add(row.waiting);
    const std::string first = waiting.poll(10, {.cost = row.cost});
    if (!EXPECT_EQ(first, std::string(row.first))) std::fprintf(stderr, "  fact: %s\n", row.fact);
  }
}

TEST(BatchFormer, ARunTakesHalfOfTheTimeOfItsFirstRequestAtMost) {
  anya::CostModel cost(true);
  cost.of(0).seed(1, 800);
  cost.of(0).seed(4, 1600);  // with room: 2000
  cost.of(0).seed(8, 2400);  // with room: 3000
  const struct {
    Nanos timeout;  // 0: none
    const char* first;
  } table[] = {{0, "abcdefgh"}, {6000, "abcdefgh"}, {5999, "abcd"}, {4000, "abcd"}, {3999, "ab"}, {1000, "a"}};
  for (const auto& row : table) {
    Table waiting(kEight);
    for (char name = 'a'; name <= 'h'; ++name) {
      waiting.add({name, 10, 1, 0, 0, 0, row.timeout == 0 ? anya::kNever : 10 + row.timeout});
    }
    EXPECT_EQ(waiting.poll(10, {.cost = &cost}), std::string(row.first));
  }
}

// A higher level that never ends: every sixteenth batch is led by who has waited longest.
TEST(BatchFormer, NoLevelStarves) {
  for (const bool batchable : {true, false}) {
    Table waiting({1, 0, batchable});
    waiting.add({'y', 0, 1, 200}).add({'z', 0, 1, 255});
    std::string order;
    for (int i = 0; i < 40; ++i) {
      waiting.add({'h', 1 + i, 1, 1});
      order += waiting.poll(1 + i);
    }
    const std::string fifteen(BatchFormer::kAgedEvery - 1, 'h');
    EXPECT_EQ(order, fifteen + "y" + fifteen + "z" + std::string(8, 'h'));
  }
}

TEST(BatchFormer, TheLeastWaitIsThatOfTheLowestLevel) {
  CountingOwner owner;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  BatchFormer former(kEight);
  std::vector<Request*> batch;
  const auto make = [&](int priority, Nanos at) {
    requests.push_back(std::make_unique<ValueRequest>(owner, 1, 0.0F));
    requests.back()->priority = priority;
    requests.back()->accepted_at = at;
    kPolicies.apply(*requests.back());
    return requests.back().get();
  };
  EXPECT_EQ(former.least_wait(100, batch), anya::kNever);
  batch = {make(2, 10), make(1, 99), make(2, 30)};
  EXPECT_EQ(former.least_wait(100, batch), 70);  // of the two of level 2
  former.add(make(2, 90));
  EXPECT_EQ(former.least_wait(100, batch), 70);  // those who wait are no better off
  former.add(make(3, 40));
  EXPECT_EQ(former.least_wait(100, batch), 60);  // a lower level waits
}
