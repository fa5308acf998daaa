// SPDX-License-Identifier: Apache-2.0
#include "batching/waiting_line.h"

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "support/check.h"
#include "support/value_request.h"

using namespace anya::test;
using anya::Nanos;
using anya::Request;
using anya::WaitingLine;

namespace {

// Requests with these orders, in this sequence; the ticket counts the pushes.
class Line {
 public:
  void push(Nanos order) {
    requests_.push_back(std::make_unique<ValueRequest>(owner_, 1, 0.0F));
    requests_.back()->order = order;
    requests_.back()->ticket = requests_.size();
    line_.push(*requests_.back());
  }
  Request& pop() {
    Request& first = line_.front();
    Request& popped = line_.pop();
    EXPECT_TRUE(&first == &popped);
    return popped;
  }
  [[nodiscard]] bool empty() const { return line_.empty(); }
  // What is left, as "order:ticket".
  std::string all() {
    std::string out;
    while (!empty()) {
      const Request& request = pop();
      out += (out.empty() ? "" : " ") + std::to_string(request.order) + ":" + std::to_string(request.ticket);
    }
    return out;
  }

 private:
  CountingOwner owner_;
  std::vector<std::unique_ptr<ValueRequest>> requests_;
  WaitingLine line_;
};

}  // namespace

TEST(WaitingLine, WhoIsDueSoonerIsFirstAndAmongEqualsWhoCameFirst) {
  const struct {
    std::vector<Nanos> pushed;
    const char* popped;
  } table[] = {
      {{}, ""},
      {{5}, "5:1"},
      {{1, 2, 3}, "1:1 2:2 3:3"},
      {{3, 2, 1}, "1:3 2:2 3:1"},
      {{2, 2, 2}, "2:1 2:2 2:3"},
      {{2, 5, 2, 5, 2}, "2:1 2:3 2:5 5:2 5:4"},
      {{9, 1, 8, 2, 7, 3, 6, 4, 5}, "1:2 2:4 3:6 4:8 5:9 6:7 7:5 8:3 9:1"},
  };
  for (const auto& row : table) {
    Line line;
    for (const Nanos order : row.pushed) line.push(order);
    EXPECT_EQ(line.all(), std::string(row.popped));
  }
}

TEST(WaitingLine, AStrayThatWaitsComesBeforeAnEqualThatIsAppendedLater) {
  Line line;
  line.push(5);
  line.push(3);  // out of order: kept apart
  EXPECT_EQ(line.pop().order, 3);
  line.push(4);  // a stray again
  EXPECT_EQ(line.pop().ticket, 3u);
  EXPECT_EQ(line.pop().ticket, 1u);  // the list is empty
  line.push(9);
  line.push(7);  // the stray
  line.push(9);
  EXPECT_EQ(line.all(), std::string("7:5 9:4 9:6"));
}

// Against a sorted vector, with pushes and pops in any order.
TEST(WaitingLine, RandomTrafficComesOutSorted) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    std::mt19937 random(seed);
    Line line;
    std::vector<std::pair<Nanos, std::uint64_t>> model;
    std::uint64_t ticket = 0;
    for (int step = 0; step < 400; ++step) {
      if (random() % 5 < 3) {
        // Mostly in order, sometimes far off.
        const Nanos order = random() % 4 == 0 ? static_cast<Nanos>(random() % 400) : step;
        line.push(order);
        model.emplace_back(order, ++ticket);
      } else if (!model.empty()) {
        const auto first = std::min_element(model.begin(), model.end());
        const Request& popped = line.pop();
        EXPECT_EQ(popped.order, first->first);
        EXPECT_EQ(popped.ticket, first->second);
        model.erase(first);
      }
      EXPECT_EQ(line.empty(), model.empty());
    }
  }
}
