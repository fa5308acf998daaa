// SPDX-License-Identifier: Apache-2.0
//
// What the runs at load find out of a model that is a lambda, on a clock that only the model moves.
#include "model/row_check.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "support/check.h"
#include "support/fake_clock.h"
#include "support/fake_session.h"

using namespace anya;
using anya::test::FakeClock;
using anya::test::FakeSession;
using anya::test::give_output;
using anya::test::spec;

namespace {

constexpr DType kF = DType::kFloat32;
constexpr std::int64_t kWide = 3;
using Rows = std::vector<std::vector<float>>;

// What a model makes of rows of three floats; what it does besides (memory, time, faults) is the test's.
using Answer = std::function<void(Rows&)>;

struct Rig {
  explicit Rig(Answer the_answer, std::int64_t max_rows = 64) : answer(std::move(the_answer)) {
    plan.batch_axis = true;
    plan.max_rows = max_rows;
  }
  RowCheck check() {
    FakeSession session({{spec("x", kF, {-1, kWide})}, {spec("y", kF, {-1, kWide})}},
                        [this](auto inputs, auto, auto outputs) { return run(inputs[0], outputs[0]); });
    return check_rows(session, plan, clock);
  }
  Status run(const TensorView& input, OutputBuffer& output) {
    const std::int64_t count = input.shape[0];
    widths.push_back(count);
    clock.advance(per_run + per_row * count);
    if (count > memory_for) return Status::with_text(ErrorCode::kOutOfMemory, "no memory");
    const auto* x = static_cast<const float*>(input.data);
    Rows rows;
    for (std::int64_t row = 0; row < count; ++row) rows.emplace_back(x + row * kWide, x + (row + 1) * kWide);
    answer(rows);
    std::vector<float> y;
    for (const auto& row : rows) y.insert(y.end(), row.begin(), row.end());
    return give_output(output, kF, {count, kWide}, y.data());
  }
  [[nodiscard]] std::int64_t widest() const { return *std::max_element(widths.begin(), widths.end()); }
  [[nodiscard]] std::ptrdiff_t runs_of(std::int64_t rows) const {
    return std::count(widths.begin(), widths.end(), rows);
  }

  Answer answer;
  RowCheckPlan plan;
  FakeClock clock;
  Nanos per_run = 0;
  Nanos per_row = 0;
  std::int64_t memory_for = 1 << 20;
  std::vector<std::int64_t> widths;  // rows of every run
};

void nothing(Rows&) {}
bool contains(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

}  // namespace

TEST(RowCheck, RowsThatDoNotCareAreTriedAsWideAsBatchesWillBe) {
  for (const std::int64_t most : {4, 5, 8, 48, 64, 100}) {
    Rig rig(nothing, most);
    const RowCheck check = rig.check();
    EXPECT_TRUE(check.ran && check.rows_lead && check.agrees && check.repeats);
    EXPECT_EQ(check.why, "");
    EXPECT_EQ(check.why_no_more, "");
    EXPECT_EQ(check.rows_together, most);
    EXPECT_EQ(rig.widest(), most);
  }
}

TEST(RowCheck, WithoutBatchesTheFirstLookSuffices) {
  Rig rig(nothing, 1);
  EXPECT_TRUE(rig.check().agrees);
  EXPECT_EQ(rig.widest(), 4);
}

TEST(RowCheck, ARowThatIsChangedFromSomePlaceOnIsFound) {
  for (const std::size_t from : {4, 8, 31, 63}) {
    Rig rig([from](Rows& rows) {
      for (std::size_t row = from; row < rows.size(); ++row) rows[row][0] += 1;
    });
    const RowCheck check = rig.check();
    EXPECT_FALSE(check.agrees);
    EXPECT_TRUE(check.repeats);
    EXPECT_TRUE(contains(check.why, "output 'y' of a row depends on the other rows"));
  }
}

TEST(RowCheck, AThresholdInOnePlaceIsFoundOnEitherSide) {
  // One place of the run has its value cut off there, be it in the first row or the fiftieth.
  for (const std::size_t place : {0, 1, 3, 7, 50}) {
    for (const float limit : {1.1F, 5.0F, -1.1F, -5.0F}) {
      Rig rig([=](Rows& rows) {
        if (rows.size() <= std::max<std::size_t>(place, 1)) return;
        float& value = rows[place][1];
        value = limit > 0 ? std::min(value, limit) : std::max(value, limit);
      });
      if (!EXPECT_FALSE(rig.check().agrees)) std::fprintf(stderr, "  place %zu, limit %g\n", place, double{limit});
    }
  }
}

TEST(RowCheck, OneRowOfZerosThatChangesItsCompanyIsFound) {
  Rig rig([](Rows& rows) {
    const auto zeros = [](const std::vector<float>& row) { return row[0] == 0 && row[1] == 0; };
    if (rows.size() > 1 && std::any_of(rows.begin(), rows.end(), zeros)) rows[0][2] *= 2;
  });
  EXPECT_FALSE(rig.check().agrees);
}

TEST(RowCheck, LargerNumbersRoundToLargerErrors) {
  // An error that grows with what goes in, where the answer itself is next to nothing.
  const auto rounding = [](float error) {
    return [error](Rows& rows) {
      for (auto& row : rows) {
        const float size = std::abs(row[0]);
        for (float& value : row) value = rows.size() > 1 ? size * error : 0.0F;
      }
    };
  };
  EXPECT_TRUE(Rig(rounding(3e-6F)).check().agrees);
  EXPECT_FALSE(Rig(rounding(3e-5F)).check().agrees);
}

TEST(RowCheck, RowsThatOverflowOrAreRefusedAloneAreLeftOut) {
  Rig overflow([](Rows& rows) {
    for (auto& row : rows) {
      const bool outsized = std::abs(row[0]) + std::abs(row[1]) + std::abs(row[2]) > 15;
      if (outsized) row.assign(3, std::numeric_limits<float>::infinity());
    }
  });
  EXPECT_TRUE(overflow.check().agrees);
  // Refused, alone and in any company: in a batch it would fail the others too, if it were not left out.
  Rig refusal([](Rows& rows) {
    for (const auto& row : rows) {
      if (row[0] == 0 && row[1] == 0) throw std::runtime_error("division by zero");
    }
  });
  const RowCheck check = refusal.check();
  EXPECT_TRUE(check.agrees);
  EXPECT_EQ(check.rows_together, 64);
}

TEST(RowCheck, WhatOnlyManyRowsFailAtRunsAlone) {
  Rig rig([](Rows& rows) {
    if (rows.size() > 16) throw std::runtime_error("sixteen at most");
  });
  const RowCheck check = rig.check();
  EXPECT_FALSE(check.agrees);
  EXPECT_FALSE(check.rows_lead);
  EXPECT_TRUE(contains(check.why, "sixteen at most"));
}

TEST(RowCheck, ARunThatFindsNoMemoryIsTriedWithHalfOfIt) {
  Rig rig(nothing);
  rig.memory_for = 20;
  const RowCheck check = rig.check();
  EXPECT_TRUE(check.agrees && check.rows_lead);
  EXPECT_EQ(check.rows_together, 16);
  EXPECT_TRUE(contains(check.why_no_more, "no memory"));
}

TEST(RowCheck, TimeDecidesHowWide) {
  struct Try {
    Nanos per_row;
    std::int64_t rows;
  };
  // Of the budget of 500 ms the four outsized rows alone take four times as long as one row.
  for (const Try& attempt : {Try{1'000'000, 64}, Try{7'000'000, 64}, Try{8'000'000, 32}, Try{40'000'000, 8},
                             Try{100'000'000, 4}, Try{200'000'000, 4}}) {
    Rig rig(nothing);
    rig.per_row = attempt.per_row;
    const Nanos before = rig.clock.now();
    const RowCheck check = rig.check();
    EXPECT_TRUE(check.agrees);
    EXPECT_EQ(check.rows_together, attempt.rows);
    EXPECT_EQ(check.why_no_more.empty(), attempt.rows == 64);
    if (attempt.rows < 64) EXPECT_TRUE(contains(check.why_no_more, "longer than 500 ms"));
    const Nanos first_look = (4 + 2 * 4 + 1) * attempt.per_row;  // and the row that is asked again
    EXPECT_LE(rig.clock.now() - before, first_look + rig.plan.wide_budget);
  }
}

TEST(RowCheck, MemoryDecidesHowWide) {
  Rig rig(nothing);
  rig.plan.max_wide_bytes = 20 * 2 * kWide * sizeof(float);  // of what goes in and what comes out of twenty rows
  const RowCheck check = rig.check();
  EXPECT_TRUE(check.agrees);
  EXPECT_EQ(check.rows_together, 16);
  EXPECT_EQ(rig.widest(), 16);
  EXPECT_TRUE(contains(check.why_no_more, "480 bytes"));
}

TEST(RowCheck, AQuickModelIsAskedInEightOrdersASlowOneOnce) {
  Rig quick(nothing);
  EXPECT_TRUE(quick.check().agrees);
  EXPECT_EQ(quick.runs_of(64), 8);
  Rig slow(nothing);
  slow.per_row = 5'000'000;
  EXPECT_TRUE(slow.check().agrees);
  EXPECT_EQ(slow.runs_of(64), 1);
}

TEST(RowCheck, EveryPlaceHasEveryKindOfRow) {
  std::vector<std::vector<std::vector<float>>> seen(64);  // per place: the rows that were there
  Rig rig([&seen](Rows& rows) {
    if (rows.size() != seen.size()) return;
    for (std::size_t place = 0; place < rows.size(); ++place) seen[place].push_back(rows[place]);
  });
  EXPECT_TRUE(rig.check().agrees);
  for (auto& rows : seen) {
    std::sort(rows.begin(), rows.end());
    EXPECT_EQ(std::unique(rows.begin(), rows.end()) - rows.begin(), 8);
  }
}

TEST(RowCheck, ARandomModelIsToldFromOneWhoseRowsAreCoupled) {
  int run = 0;
  Rig often([&run](Rows& rows) {
    ++run;
    for (auto& row : rows) row[0] += static_cast<float>(run);
  });
  RowCheck check = often.check();
  EXPECT_FALSE(check.agrees || check.repeats);
  EXPECT_TRUE(contains(check.why, "asked again, is answered differently"));
  // One that keeps to its answers for as long as rows are compared.
  run = 0;
  Rig late([&run](Rows& rows) {
    if (++run > 4 + 2 + 4 + 8) rows[0][0] += 1;
  });
  check = late.check();
  EXPECT_FALSE(check.agrees || check.repeats);
}

TEST(RowCheck, IntegersThatAreSizesStaySmall) {
  // Adds as many zeros to every row as the integer says; or gives one number whatever it is.
  for (const bool sizes : {true, false}) {
    std::int64_t largest = 0;
    FakeSession session({{spec("n", DType::kInt64, {4})}, {spec("y", kF, {-1})}}, [&](auto inputs, auto, auto outputs) {
      const auto* n = static_cast<const std::int64_t*>(inputs[0].data);
      largest = std::max(largest, *std::max_element(n, n + 4));
      const std::vector<float> y(sizes ? static_cast<std::size_t>(n[0] + n[1] + n[2] + n[3]) : 1);
      return give_output(outputs[0], kF, {static_cast<std::int64_t>(y.size())}, y.data());
    });
    const RowCheck check = check_rows(session, {}, FakeClock());
    EXPECT_TRUE(check.ran);
    EXPECT_EQ(largest <= 2, sizes);
  }
}
