// SPDX-License-Identifier: Apache-2.0
#include "model/sample_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/half.h"
#include "model/row_compare.h"
#include "support/check.h"
#include "support/fake_session.h"

using anya::DType;
using anya::ModelSchema;
using anya::OutputBuffer;
using anya::row_difference;
using anya::SampleRows;
using anya::Shape;
using anya::test::spec;

namespace {

template <typename T>
std::vector<T> values(const anya::TensorView& view) {
  std::vector<T> out(view.bytes / sizeof(T));
  std::memcpy(out.data(), view.data, view.bytes);
  return out;
}
template <typename T>
OutputBuffer output(DType dtype, Shape shape, std::vector<T>& data) {
  return {dtype, shape, data.data(), data.size() * sizeof(T), nullptr};
}

}  // namespace

TEST(SampleRows, TheSameEveryTimeAndInTheRangeTheTypeIsSafeIn) {
  const ModelSchema schema{
      {spec("f", DType::kFloat32, {-1, 100}), spec("i", DType::kInt64, {-1, -1}), spec("b", DType::kBool, {-1, 3}),
       spec("s", DType::kString, {-1}), spec("h", DType::kFloat16, {-1, 4})},
      {}};
  const SampleRows one(schema, true, 4, 8, anya::Integers::kBits);
  const SampleRows two(schema, true, 4, 8, anya::Integers::kBits);
  const auto views = one.views();
  ASSERT_EQ(views.size(), 5u);
  EXPECT_TRUE(views[1].shape == (Shape{4, 8}));
  for (std::size_t i = 0; i < views.size(); ++i) {
    EXPECT_EQ(std::memcmp(views[i].data, two.views()[i].data, views[i].bytes), 0);
  }
  double sum = 0;
  double squares = 0;
  const auto floats = values<float>(views[0]);
  for (std::size_t i = 200; i < 400; ++i) {  // rows 2 and 3, of the usual size
    sum += static_cast<double>(floats[i]);
    squares += static_cast<double>(floats[i]) * static_cast<double>(floats[i]);
  }
  EXPECT_LT(std::abs(sum / 200), 0.3);
  EXPECT_LT(std::abs(squares / 200 - 1), 0.4);
  int ones = 0;
  for (const std::int64_t value : values<std::int64_t>(views[1])) {
    EXPECT_TRUE(value == 0 || value == 1);
    ones += value == 1;
  }
  EXPECT_GT(ones, 0);
  EXPECT_LT(ones, 32);
  for (const auto& word : values<std::string_view>(views[3])) EXPECT_GT(word.size(), 0u);
}

TEST(SampleRows, ThereAreRowsOfAllSizesAndBothSigns) {
  const SampleRows rows({{spec("f", DType::kFloat32, {-1, 100}), spec("s", DType::kString, {-1})}, {}}, true, 9, 8,
                        anya::Integers::kBits);
  const std::vector<float> floats = values<float>(rows.views()[0]);
  const auto least = [&](std::size_t row) { return *std::min_element(&floats[row * 100], &floats[row * 100] + 100); };
  const auto most = [&](std::size_t row) { return *std::max_element(&floats[row * 100], &floats[row * 100] + 100); };
  for (const std::size_t row : {0, 1, 2, 3, 6, 8}) EXPECT_TRUE(least(row) < 0 && most(row) > 0);
  EXPECT_GT(most(1), 4.0F);
  EXPECT_TRUE(least(4) >= 0 && most(4) > 10);
  EXPECT_TRUE(most(5) <= 0 && least(5) < -10);
  EXPECT_LT(most(6), 0.5F);
  EXPECT_TRUE(least(7) == 0 && most(7) == 0);
  EXPECT_FALSE(std::signbit(least(7)));
  EXPECT_TRUE(values<std::string_view>(rows.views()[1])[7].empty());
  EXPECT_EQ(SampleRows::magnitude(0), 1.0F);
  EXPECT_EQ(SampleRows::magnitude(5), 10.0F);
  EXPECT_EQ(SampleRows::magnitude(6), 1.0F);  // a tolerance is never made smaller
}

TEST(SampleRows, ARowIsTheSameHoweverManyThereAre) {
  const ModelSchema schema{{spec("f", DType::kFloat32, {-1, 3}), spec("i", DType::kInt64, {-1, 3})}, {}};
  const SampleRows four(schema, true, 4, 8, anya::Integers::kSmall);
  const SampleRows eight(schema, true, 8, 8, anya::Integers::kSmall);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(std::memcmp(four.views()[i].data, eight.views()[i].data, four.views()[i].bytes), 0);
  }
  const auto floats = values<float>(eight.views()[0]);
  EXPECT_TRUE(floats[0] != floats[6] && floats[6] != floats[9]);  // rows 0, 2 and 3 differ
}

TEST(SampleRows, OnesAndTwosAreWhatTheirNameSays) {
  const ModelSchema schema{{spec("i", DType::kInt32, {-1, 9}), spec("b", DType::kBool, {-1, 9})}, {}};
  for (const std::int32_t wanted : {1, 2}) {
    const SampleRows rows(schema, true, 1, 8, wanted == 1 ? anya::Integers::kOnes : anya::Integers::kTwos);
    for (const std::int32_t value : values<std::int32_t>(rows.views()[0])) EXPECT_EQ(value, wanted);
    for (const std::uint8_t value : values<std::uint8_t>(rows.views()[1])) EXPECT_LE(value, 1);
  }
}

TEST(SampleRows, PickedRowsAreTheSameRows) {
  const ModelSchema schema{{spec("f", DType::kFloat64, {-1, 2}), spec("s", DType::kString, {-1})}, {}};
  const SampleRows all(schema, true, 4, 8, anya::Integers::kBits);
  const std::size_t wanted[] = {3, 1};
  const SampleRows some = all.pick(wanted);
  const auto from = values<double>(all.views()[0]);
  const auto to = values<double>(some.views()[0]);
  EXPECT_EQ(to, (std::vector<double>{from[6], from[7], from[2], from[3]}));
  EXPECT_EQ(values<std::string_view>(some.views()[1])[0], values<std::string_view>(all.views()[1])[3]);
}

TEST(SampleRows, CountsItsBytesBeforeItTakesThem) {
  const ModelSchema schema{{spec("f", DType::kFloat32, {-1, 1000, -1})}, {}};
  EXPECT_EQ(SampleRows::bytes_needed(schema, true, 4, 8), 4u * 1000 * 8 * 4);
  const std::int64_t big = std::int64_t{1} << 40;
  EXPECT_EQ(SampleRows::bytes_needed({{spec("f", DType::kFloat32, {-1, big, big})}, {}}, true, 4, 8), UINT64_MAX);
}

TEST(SampleRows, SmallIntegersAreSmallAndBooleansStayBooleans) {
  const ModelSchema schema{{spec("i", DType::kInt8, {-1, 50}), spec("b", DType::kBool, {-1, 50})}, {}};
  const SampleRows rows(schema, true, 4, 8, anya::Integers::kSmall);
  int above_one = 0;
  for (const std::int8_t value : values<std::int8_t>(rows.views()[0])) {
    EXPECT_TRUE(value >= 0 && value < 100);
    above_one += value > 1;
  }
  EXPECT_GT(above_one, 100);
  for (const std::uint8_t value : values<std::uint8_t>(rows.views()[1])) EXPECT_LE(value, 1);
}

TEST(Half, GoesThereAndBack) {
  for (const float value : {0.0F, 1.0F, -2.5F, 65504.0F, 0x1p-14F}) {
    EXPECT_EQ(anya::from_float16(anya::to_float16(value)), value);
  }
  EXPECT_EQ(anya::from_float16(0x0001), 0x1p-24F);
  EXPECT_TRUE(std::isinf(anya::from_float16(anya::to_float16(1e6F))));
  EXPECT_TRUE(std::isnan(anya::from_float16(anya::to_float16(std::nanf("")))));
  EXPECT_EQ(anya::from_bfloat16(anya::to_bfloat16(-1.5F)), -1.5F);
  EXPECT_TRUE(std::isnan(anya::from_bfloat16(anya::to_bfloat16(std::nanf("")))));
}

TEST(RowCompare, FloatsWithinToleranceNanEqualsNan) {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<float> alone = {100.0F, kNan, kInf};
  std::vector<float> together = {0, 0, 0, 100.05F, kNan, kInf};
  const OutputBuffer one = output(DType::kFloat32, {1, 3}, alone);
  const OutputBuffer two = output(DType::kFloat32, {2, 3}, together);
  EXPECT_EQ(row_difference(one, two, 1, {}), "");
  EXPECT_NE(row_difference(one, two, 0, {}), "");
  EXPECT_NE(row_difference(one, two, 1, {1e-6, 1e-6}), "");
  together[4] = 1.0F;
  EXPECT_NE(row_difference(one, two, 1, {}), "");
  together[4] = kNan;
  together[5] = -kInf;
  EXPECT_NE(row_difference(one, two, 1, {}), "");
}

TEST(RowCompare, EverythingElseExactly) {
  std::vector<std::int64_t> alone = {1'000'000};
  std::vector<std::int64_t> together = {0, 1'000'001, 1'000'000};
  const OutputBuffer one = output(DType::kInt64, {1}, alone);
  const OutputBuffer three = output(DType::kInt64, {3}, together);
  EXPECT_NE(row_difference(one, three, 1, {}), "");
  EXPECT_EQ(row_difference(one, three, 2, {}), "");
  std::vector<std::string_view> word = {"a"};
  std::vector<std::string_view> words = {"b", "a"};
  const OutputBuffer text = output(DType::kString, {1}, word);
  const OutputBuffer texts = output(DType::kString, {2}, words);
  EXPECT_NE(row_difference(text, texts, 0, {}), "");
  EXPECT_EQ(row_difference(text, texts, 1, {}), "");
}

TEST(RowCompare, NothingFiniteMeansNotOneNumber) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInf = std::numeric_limits<double>::infinity();
  std::vector<double> endless = {kInf, kNan, -kInf};
  std::vector<double> nothing = {kNan, kNan};
  std::vector<double> something = {kNan, 1};
  std::vector<double> empty;
  std::vector<std::int32_t> integers = {1};
  EXPECT_TRUE(anya::nothing_finite(output(DType::kFloat64, {2}, nothing)));
  EXPECT_TRUE(anya::nothing_finite(output(DType::kFloat64, {3}, endless)));
  EXPECT_FALSE(anya::nothing_finite(output(DType::kFloat64, {2}, something)));
  EXPECT_FALSE(anya::nothing_finite(output(DType::kFloat64, {0}, empty)));
  EXPECT_FALSE(anya::nothing_finite(output(DType::kInt32, {1}, integers)));
}

TEST(RowCompare, ShapesMustMatchToo) {
  std::vector<float> alone = {1, 2};
  std::vector<float> together = {1, 2, 0, 1, 2, 0};
  EXPECT_NE(row_difference(output(DType::kFloat32, {1, 2}, alone), output(DType::kFloat32, {2, 3}, together), 0, {}),
            "");
}
