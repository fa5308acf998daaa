// SPDX-License-Identifier: Apache-2.0
//
// What batches of made-up rows cost, against a session that moves the clock by hand.
#include "model/run_times.h"

#include <vector>

#include "support/check.h"
#include "support/fake_clock.h"
#include "support/fake_session.h"

using namespace anya;
using anya::test::FakeClock;
using anya::test::FakeSession;

namespace {

ModelSchema schema_of(std::int64_t width) {
  TensorSpec x{"x", DType::kFloat32, {-1, width}, {"N", ""}};
  TensorSpec y{"y", DType::kFloat32, {-1, width}, {"N", ""}};
  return {{x}, {y}};
}

// A run of n rows takes 100 + 10 n on the clock; more than `most` rows fail.
std::vector<MeasuredRun> measured(std::int64_t max_rows, Nanos budget, std::int64_t width = 4,
                                  std::int64_t most = 1 << 20) {
  FakeClock clock;
  FakeSession session(schema_of(width),
                      [&](std::span<const TensorView> inputs, std::span<const std::uint32_t>, std::span<OutputBuffer>) {
                        const std::int64_t rows = inputs[0].shape[0];
                        clock.advance(100 + 10 * rows);
                        return rows <= most ? Status{} : Status::failure(ErrorCode::kExecutionError, Reason::kNone);
                      });
  return measure_run_times(session, max_rows, budget, clock);
}

}  // namespace

TEST(RunTimes, EveryPowerOfTwoUpToTheLimit) {
  const std::vector<MeasuredRun> times = measured(20, 1'000'000);
  ASSERT_EQ(times.size(), std::size_t{5});
  for (std::size_t i = 0; i < times.size(); ++i) {
    EXPECT_EQ(times[i].rows, std::int64_t{1} << i);
    EXPECT_EQ(times[i].duration, 100 + 10 * times[i].rows);
  }
}

TEST(RunTimes, TheBudgetEndsIt) {
  const std::vector<MeasuredRun> times = measured(1 << 20, 2'000);
  // 1 to 32 rows, once each, take 1230; 64 might take twice what 32 took, 420, and that does not fit any more.
  EXPECT_EQ(times.size(), std::size_t{6});
  EXPECT_TRUE(measured(64, 0).empty());
}

TEST(RunTimes, ASizeThatFailsEndsItWithWhatIsKnown) { EXPECT_EQ(measured(64, 1'000'000, 4, 8).size(), std::size_t{4}); }

TEST(RunTimes, FreeShapesAreNotMeasured) { EXPECT_TRUE(measured(64, 1'000'000, -1).empty()); }
