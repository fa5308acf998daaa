// SPDX-License-Identifier: Apache-2.0
#include "model/batch_axis.h"

#include "support/check.h"
#include "support/fake_session.h"

using anya::decide_batch_axis;
using anya::DType;
using anya::ModelSchema;
using anya::Shape;
using anya::test::spec;

namespace {

constexpr DType kF = DType::kFloat32;

bool says(const ModelSchema& schema, bool batchable, const char* words) {
  const anya::BatchAxis axis = decide_batch_axis(schema);
  EXPECT_EQ(axis.batchable, batchable);
  return EXPECT_NE(axis.reason.find(words), std::string::npos);
}

}  // namespace

TEST(BatchAxis, AFreeFirstAxisEverywhereCountsRows) {
  says({{spec("x", kF, {-1, 4}, {"N"})}, {spec("y", kF, {-1, 2}, {"N"})}}, true, "is free");
  says({{spec("x", kF, {-1, 4})}, {spec("y", kF, {-1})}}, true, "is free");
  says({{spec("a", kF, {-1, 4}, {"N"}), spec("b", kF, {-1})}, {spec("y", kF, {-1}, {"other"})}}, true, "is free");
}

TEST(BatchAxis, AFixedOrMissingFirstAxisDoesNot) {
  says({{spec("x", kF, {1, 4})}, {spec("y", kF, {-1, 2})}}, false, "input 'x' has the fixed first dimension 1");
  says({{spec("x", kF, {})}, {spec("y", kF, {-1, 2})}}, false, "input 'x' is a scalar");
  says({{spec("x", kF, {-1, 4})}, {spec("y", kF, {})}}, false, "output 'y' is a scalar");
  says({{spec("x", kF, {-1, 4})}, {spec("y", kF, {3, -1})}}, false, "output 'y' has the fixed first dimension 3");
  says({{}, {spec("y", kF, {-1})}}, false, "no inputs");
  says({{spec("x", kF, {-1})}, {}}, false, "no outputs");
}

TEST(BatchAxis, UnlikeFirstAxesDoNot) {
  says({{spec("a", kF, {-1, 3}, {"N"}), spec("b", kF, {-1, 3}, {"M"})}, {spec("y", kF, {-1, 3}, {"N"})}}, false,
       "'N' and 'M'");
}

TEST(BatchAxis, TheBatchMayNotBeAnotherAxisToo) {
  says({{spec("x", kF, {-1, -1}, {"N", "N"})}, {spec("y", kF, {-1}, {"N"})}}, false, "axis 1 of 'x'");
  says({{spec("x", kF, {-1, 4}, {"N", ""})}, {spec("y", kF, {-1, -1}, {"N", "N"})}}, false, "axis 1 of 'y'");
}

TEST(BatchAxis, AShapeFollowsWhenNothingElseIsFree) {
  EXPECT_TRUE(anya::shape_follows(spec("y", kF, {-1, 2}), true));
  EXPECT_FALSE(anya::shape_follows(spec("y", kF, {-1, 2}), false));
  EXPECT_TRUE(anya::shape_follows(spec("y", kF, {3, 2}), false));
  EXPECT_FALSE(anya::shape_follows(spec("y", kF, {-1, -1}), true));
  EXPECT_FALSE(anya::shape_follows(spec("y", DType::kString, {-1}), true));
  EXPECT_TRUE(anya::shape_for_rows(spec("y", kF, {-1, 2}), true, 5) == (Shape{5, 2}));
  EXPECT_TRUE(anya::shape_for_rows(spec("y", kF, {3, 2}), false, 5) == (Shape{3, 2}));
}
