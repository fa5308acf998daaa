// SPDX-License-Identifier: Apache-2.0
//
// What runs next, as tables: who waits, when it is asked, what leaves.
#include "batching/batch_former.h"

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "batching/batch_former_table.h"
#include "batching/cost_model.h"
#include "support/check.h"
#include "support/value_request.h"

using namespace anya::test;
using anya::BatchFormer;
using anya::DType;
using anya::Nanos;
using anya::Request;

TEST(BatchFormer, Orders) {
  const struct {
    const char* fact;
    Limits limits;
    std::vector<Arrival> waiting;
    const char* polls;
  } table[] = {
      {"nobody", kEight, {}, ""},
      {"one", kEight, {{'a'}}, "a"},
      {"all that fit, first in first out", kEight, {{'a', 1}, {'b', 2}, {'c', 3}}, "abc"},
      {"no more rows than the limit", {2, 0, true}, {{'a', 1}, {'b', 2}, {'c', 3}}, "ab,c"},
      {"rows count, not requests", kEight, {{'a', 1, 3}, {'b', 2, 5}, {'c', 3, 1}}, "ab,c"},
      {"what does not fit any more waits, and nobody overtakes it",
       kEight,
       {{'a', 1, 5}, {'b', 2, 5}, {'c', 3, 1}},
       "a,bc"},
      {"more rows than the limit run alone", kEight, {{'a', 1, 1}, {'b', 2, 20}, {'c', 3, 1}}, "a,b,c"},
      {"exactly the limit fills a run", kEight, {{'a', 1, 8}, {'b', 2, 1}}, "a,b"},
      {"a request without rows counts as one", {2, 0, true}, {{'a', 1, 0}, {'b', 2, 0}, {'c', 3, 0}}, "ab,c"},
      {"without batching one by one", {8, 0, false}, {{'a', 1}, {'b', 2}, {'c', 3}}, "a,b,c"},
      {"without batching other shapes keep their turn",
       {8, 0, false},
       {{'a', 1, 1, 0, 3}, {'b', 2, 1, 0, 4}, {'c', 3, 1, 0, 3}},
       "a,b,c"},
      {"a higher priority goes first",
       {1, 0, true},
       {{'a', 1, 1, 2}, {'b', 2, 1, 1}, {'c', 3, 1, 2}, {'d', 4, 1, 1}},
       "b,d,a,c"},
      {"without a priority: between the first and the last",
       {1, 0, true},
       {{'a', 1, 1, 200}, {'b', 2}, {'c', 3, 1, 1}, {'d', 4, 1, 127}},
       "c,d,b,a"},
      {"among buckets too", kEight, {{'a', 1, 1, 200, 3}, {'b', 2, 1, 0, 4}, {'c', 3, 1, 1, 5}}, "c,b,a"},
      {"and shares its run with lower ones", kEight, {{'a', 1, 1, 2}, {'b', 2, 1, 1}}, "ba"},
      {"without batching too", {8, 0, false}, {{'a', 1, 1, 3}, {'b', 2, 1, 1}, {'c', 3, 1, 2}}, "b,c,a"},
      {"other shapes wait in their own bucket",
       kEight,
       {{'a', 1, 1, 0, 3}, {'b', 2, 1, 0, 4}, {'c', 3, 1, 0, 3}},
       "ac,b"},
      {"the bucket whose first came first is next",
       kEight,
       {{'a', 1, 1, 0, 4}, {'b', 2, 1, 0, 3}, {'c', 3, 1, 0, 4}, {'d', 4, 1, 0, 3}},
       "ac,bd"},
      {"priority comes before arrival among buckets", kEight, {{'a', 1, 1, 2, 3}, {'b', 2, 1, 1, 4}}, "b,a"},
      {"equal hashes of other shapes do not share",
       kEight,
       {{'a', 1, 1, 0, 3, 99}, {'b', 2, 1, 0, 4, 99}, {'c', 3, 1, 0, 3, 99}},
       "ac,b"},
      {"the one shape and another do not share", kEight, {{'a', 1, 1, 0, 0}, {'b', 2, 1, 0, 3}}, "a,b"},
      {"ended ones are skipped",
       kEight,
       {{'a', 1, 1, 0, 0, 0, anya::kNever, true}, {'b', 2}, {'c', 3, 1, 0, 0, 0, anya::kNever, true}, {'d', 4}},
       "bd -ac"},
      {"expired ones are skipped", kEight, {{'a', 1, 1, 0, 0, 0, 10}, {'b', 2, 1, 0, 0, 0, 11}}, "b -a"},
      {"only dead ones", kEight, {{'a', 1, 1, 0, 0, 0, 10}, {'b', 2, 1, 0, 0, 0, 9}}, "-ba"},
      {"in one level who is due first goes first",
       {1, 0, true},
       {{'a', 1, 1, 0, 0, 0, 100}, {'b', 2, 1, 0, 0, 0, 50}, {'c', 3}, {'d', 4, 1, 0, 0, 0, 50}},
       "b,d,a,c"},
      {"among buckets too",
       kEight,
       {{'a', 1, 1, 0, 3, 0, 100}, {'b', 2, 1, 0, 4, 0, 50}, {'c', 3, 1, 0, 3, 0, 40}},
       "ca,b"},
      {"but not before a higher level",
       {1, 0, true},
       {{'a', 1, 1, 2, 0, 0, 50}, {'b', 2, 1, 1, 0, 0, 900}, {'c', 3, 1, 1}},
       "b,c,a"},
      {"without batching too", {8, 0, false}, {{'a', 1, 1, 0, 3, 0, 100}, {'b', 2, 1, 0, 4, 0, 50}}, "b,a"},
      {"who has no deadline waits no longer than the patient",
       {1, 0, true},
       {{'a', 1}, {'b', 2, 1, 0, 0, 0, 2 * anya::QueuePolicies::kPatience}},
       "a,b"},
      {"a run of a higher level is filled up from lower ones, in their order",
       {3, 0, true},
       {{'a', 1, 1, 3}, {'b', 2, 1, 2, 0, 0, 90}, {'c', 3, 1, 2, 0, 0, 80}, {'d', 4, 1, 1}},
       "dcb,a"},
      {"of its own shape alone", kEight, {{'a', 1, 1, 2, 3}, {'b', 2, 1, 1, 4}, {'c', 3, 1, 2, 4}}, "bc,a"},
      {"a dead one's rows make room", kEight, {{'a', 1, 4}, {'b', 2, 4, 0, 0, 0, 10}, {'c', 3, 4}}, "ac -b"},
  };
  for (const auto& row : table) {
    Table waiting(row.limits);
    waiting.add(row.waiting);
    const std::string polls = waiting.poll_all(10);
    if (!EXPECT_EQ(polls, std::string(row.polls))) std::fprintf(stderr, "  fact: %s\n", row.fact);
    EXPECT_EQ(waiting.size(), 0u);
    EXPECT_EQ(waiting.poll(10), "");
  }
}

TEST(BatchFormer, SharesTheRowsAmongTheInstances) {
  anya::CostModel flat(true);    // a row costs the same in any company
  anya::CostModel gentle(true);  // a row costs a little less in more company
  anya::CostModel steep(true);   // a run costs the same whatever is in it
  anya::CostModel two(true);     // a row is cheapest in a run of two
  anya::CostModel whole(true);   // only the full run is known
  whole.of(0).seed(8, 8000);
  for (const std::int64_t rows : {1, 2, 4, 8}) {
    flat.of(0).seed(rows, 1000 * rows);
    gentle.of(0).seed(rows, 1000 * rows + 8 * (8 - rows) * rows);
    steep.of(0).seed(rows, 8000 + rows);
    two.of(0).seed(rows, rows == 2 ? 1500 : 1000 * rows);
  }
  const std::vector<Arrival> eight = {{'a'}, {'b'}, {'c'}, {'d'}, {'e'}, {'f'}, {'g'}, {'h'}};
  const struct {
    const char* fact;
    Instances instances;
    const char* first;
  } table[] = {
      {"one takes all", {}, "abcdefgh"},
      {"two take half each", {.count = 2}, "abcd"},
      {"three take a third, rounded up", {.count = 3}, "abc"},
      {"more instances than rows: one each", {.count = 20}, "a"},
      {"none counted is still the asking one", {.count = 0}, "abcdefgh"},
      {"what the others run counts in the sharing", {.count = 2, .running_rows = 4}, "abcdef"},
      {"however much they run", {.count = 2, .running_rows = 1000}, "abcdefgh"},
      {"what is not worth a hop stays together", {.count = 4, .cost = &steep, .hop = 8005}, "abcd"},
      {"but never above the limit", {.count = 2, .cost = &steep, .hop = 1'000'000}, "abcdefgh"},
      {"what fits in less than a share changes nothing", {.count = 2, .cost = &steep, .hop = 8003}, "abcd"},
      {"no more than what pays", {.cost = &two}, "ab"},
      {"nor for a hop", {.cost = &two, .hop = 1'000'000}, "ab"},
      {"one by one, when company saves nothing", {.cost = &flat}, "a"},
      {"half, when two halves cost about the same", {.cost = &gentle}, "abcd"},
      {"all, when they cost more", {.cost = &steep}, "abcdefgh"},
      {"half of each one's share", {.count = 2, .cost = &gentle}, "ab"},
      {"now and then more than pays", {.cost = &two, .turn = 127}, "abcd"},
      {"within the limit", {.cost = &steep, .turn = 127}, "abcdefgh"},
      {"now and then less", {.cost = &steep, .turn = 64}, "abcd"},
      {"half of what pays", {.cost = &two, .turn = 64}, "a"},
      {"not always", {.cost = &steep, .turn = 2}, "abcdefgh"},
      {"more often while the half is not known", {.cost = &whole, .turn = 2}, "abcd"},
  };
  for (const auto& row : table) {
    Table waiting(kEight);
    waiting.add(eight);
    const std::string first = waiting.poll(10, row.instances);
    if (!EXPECT_EQ(first, std::string(row.first))) std::fprintf(stderr, "  fact: %s\n", row.fact);
  }
}

TEST(BatchFormer, EachShapeIsBatchedByItsOwnCosts) {
  anya::CostModel cost(false);
  for (const std::int64_t rows : {1, 2, 4}) {
    cost.of(5).seed(rows, 1000 * rows);  // company saves nothing
    cost.of(6).seed(rows, 8000 + rows);
  }
  CountingOwner owner;
  std::vector<std::unique_ptr<ValueRequest>> requests;
  BatchFormer former(kEight);
  for (int i = 0; i < 8; ++i) {
    requests.push_back(std::make_unique<ValueRequest>(owner, 1, 0.0F));
    requests.back()->signature = requests.back()->cost_class = i < 4 ? 5 : 6;
    kPolicies.apply(*requests.back());
    former.add(requests.back().get());
  }
  std::vector<std::size_t> sizes;
  while (former.size() > 0) {
    std::vector<Request*> batch;
    std::vector<Request*> dead;
    former.poll(0, {.cost = &cost}, batch, dead);
    sizes.push_back(batch.size());
  }
  EXPECT_TRUE((sizes == std::vector<std::size_t>{1, 1, 1, 1, 4}));
}

TEST(BatchFormer, ALoneRequestNeverWaits) {
  EXPECT_EQ(Table(kDelay).add({'a', 50}).poll(50), "a");          // an idle instance
  EXPECT_EQ(Table(kDelay).add({'a', 50}).poll(50, kFreed), "a");  // a freed one: nobody else has come
  Table after(kDelay);
  EXPECT_EQ(after.add({'a', 0}).poll(0), "a");
  EXPECT_EQ(after.add({'b', 101}).poll(101, kFreed), "b");  // the last one came longer ago than the delay
}

TEST(BatchFormer, AFreedInstanceWaitsWhileOthersArrive) {
  Table table(kDelay);
  EXPECT_EQ(table.add({'a', 0}).poll(0), "a");
  table.add({'b', 50});
  EXPECT_EQ(table.poll(60, kFreed), "@100");  // a came at 0: until 100 its company may be followed by more
  EXPECT_EQ(table.poll(99, kFreed), "@100");
  EXPECT_EQ(table.poll(99, {.freed = false}), "b");  // an idle instance does not wait
  table.add({'c', 110});
  table.add({'d', 115});
  EXPECT_EQ(table.poll(120, kFreed), "@210");
  EXPECT_EQ(table.poll(210, kFreed), "cd");
}

TEST(BatchFormer, WaitingIsBoundedByTheOldestAndTheDelay) {
  const struct {
    const char* fact;
    Limits limits;
    Instances instances;
    std::vector<Arrival> waiting;
    Nanos now;
    const char* poll;
  } table[] = {
      {"two that came together wait", kDelay, kFreed, {{'a', 10}, {'b', 20}}, 30, "@110"},
      {"until the first has waited the delay", kDelay, kFreed, {{'a', 10}, {'b', 100}}, 110, "ab"},
      {"a full run leaves", kDelay, kFreed, {{'a', 10, 4}, {'b', 20, 4}}, 30, "ab"},
      {"a run past the limit leaves", kDelay, kFreed, {{'a', 10, 30}, {'b', 20, 1}}, 30, "a"},
      {"another idle instance: nobody waits",
       kDelay,
       {.count = 2, .idle = 2, .freed = true},
       {{'a', 10}, {'b', 20}},
       30,
       "a"},
      {"no delay: nobody waits", kEight, kFreed, {{'a', 10}, {'b', 20}}, 30, "ab"},
      {"no batching: nobody waits", {8, 100, false}, kFreed, {{'a', 10}, {'b', 20}}, 30, "a"},
      {"of two shapes the first one's wait counts",
       kDelay,
       kFreed,
       {{'a', 10, 1, 0, 3}, {'b', 20, 1, 0, 4}},
       30,
       "@110"},
      {"the dead are told at once", kDelay, kFreed, {{'a', 5, 1, 0, 0, 0, 30}, {'b', 10}, {'c', 20}}, 30, "-a"},
  };
  for (const auto& row : table) {
    Table waiting(row.limits);
    waiting.add(row.waiting);
    const std::string poll = waiting.poll(row.now, row.instances);
    if (!EXPECT_EQ(poll, std::string(row.poll))) std::fprintf(stderr, "  fact: %s\n", row.fact);
  }
}

TEST(BatchFormer, MayShareLooksAtShapesOutputsAndRank) {
  CountingOwner owner;
  ValueRequest a(owner, 1, 0.0F);
  ValueRequest b(owner, 3, 0.0F);
  a.signature = b.signature = 7;
  EXPECT_TRUE(may_share(a, b));  // the rows differ, which is the point
  b.inputs[0].shape = {3, kWidth + 1};
  EXPECT_FALSE(may_share(a, b));
  b.inputs[0].shape = {3, kWidth, 1};
  EXPECT_FALSE(may_share(a, b));
  b.inputs[0].shape = {3, kWidth};
  b.output_indices = {0, 0};
  EXPECT_FALSE(may_share(a, b));
  b.output_indices = {0};
  b.inputs.push_back(b.inputs[0]);
  EXPECT_FALSE(may_share(a, b));
  b.inputs.pop_back();
  b.signature = 8;
  EXPECT_FALSE(may_share(a, b));
}

// Random arrivals and polls: every request comes out once; a run holds one shape and no more rows than the limit; among
// equals of one shape and priority who is due first goes first, then who came first.
TEST(BatchFormer, RandomTrafficKeepsTheRules) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    std::mt19937 random(seed);
    const auto up_to = [&random](unsigned limit) { return static_cast<std::int64_t>(random() % limit); };
    const Limits limits{1 + up_to(9), up_to(3) * 50, up_to(4) != 0};
    BatchFormer former(limits);
    CountingOwner owner;
    std::vector<std::unique_ptr<ValueRequest>> requests;
    std::map<const Request*, int> out;
    std::map<std::pair<std::uint64_t, int>, std::pair<Nanos, std::uint64_t>> last;
    Nanos now = 0;
    const auto take = [&](const std::vector<Request*>& batch, bool dead) {
      std::int64_t rows = 0;
      for (const Request* request : batch) {
        ++out[request];
        rows += request->rows;
        if (dead) continue;
        EXPECT_TRUE(request->deadline > now);
        EXPECT_EQ(request->signature, batch.front()->signature);
        auto& before = last[{request->signature, request->priority}];
        EXPECT_TRUE(std::pair(request->order, request->id) > before);
        before = {request->order, request->id};
      }
      if (!dead && batch.size() > 1) EXPECT_TRUE(limits.batchable && rows <= limits.max_rows);
    };
    while (requests.size() < 60 || former.size() > 0) {
      now += up_to(20);
      if (requests.size() < 60 && up_to(2) == 0) {
        auto request = std::make_unique<ValueRequest>(owner, 1, 0.0F);
        request->rows = 1 + up_to(12);
        request->signature = static_cast<std::uint64_t>(up_to(3));
        request->inputs[0].shape = {request->rows, static_cast<std::int64_t>(request->signature)};
        request->priority = 1 + static_cast<int>(up_to(2));
        request->accepted_at = now;
        request->id = requests.size() + 1;
        if (up_to(5) == 0) request->deadline = now + up_to(40);
        kPolicies.apply(*request);
        // Whoever comes out later than one of its kind that came in later would be out of order: forget what left.
        last.erase({request->signature, request->priority});
        former.add(request.get());
        requests.push_back(std::move(request));
        continue;
      }
      std::vector<Request*> batch;
      std::vector<Request*> dead;
      const Instances instances{.count = static_cast<std::uint32_t>(up_to(4)),
                                .idle = static_cast<std::uint32_t>(up_to(3)),
                                .running_rows = up_to(6),
                                .turn = static_cast<std::uint64_t>(up_to(200)),
                                .freed = up_to(2) == 0};
      const Nanos again = former.poll(now, instances, batch, dead);
      if (again != anya::kNever) EXPECT_TRUE(again > now && again <= now + limits.max_delay);
      if (former.size() > 0 && again == anya::kNever) EXPECT_FALSE(batch.empty() && dead.empty());
      take(batch, false);
      take(dead, true);
    }
    EXPECT_EQ(out.size(), requests.size());
    EXPECT_TRUE(std::all_of(out.begin(), out.end(), [](const auto& each) { return each.second == 1; }));
  }
}
