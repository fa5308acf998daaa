// SPDX-License-Identifier: Apache-2.0
#include "rules/value_rule.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "rules/elements.h"
#include "rules/odd_block.h"
#include "support/check.h"

using anya::DType;
using anya::ErrorCode;
using anya::InputRule;
using anya::Number;
using anya::OutputRule;
using anya::Reason;
using anya::Status;
using anya::TensorSpec;
using namespace anya::rules;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr std::size_t kFloats = kBlockBytes / sizeof(float);

TensorSpec typed(DType dtype) {
  TensorSpec spec;
  spec.name = "x";
  spec.dtype = dtype;
  return spec;
}

InputRule range(Number min, Number max, const char* on_range = "reject") {
  InputRule rule;
  rule.min = min;
  rule.max = max;
  rule.on_range = on_range;
  return rule;
}

double as_double(std::int64_t fact) { return std::bit_cast<double>(fact); }

// The first words of what a rule is refused with; "" when it is taken.
std::string refused(const InputRule& rule, DType dtype) {
  try {
    static_cast<void>(make_value_rule(rule, typed(dtype)));
    return "";
  } catch (const anya::Error& error) {
    return std::string(error.what()).substr(0, std::string(error.what()).find(':'));
  }
}

}  // namespace

TEST(ValueRule, FindsTheOneWrongValueWhereverItLies) {
  const auto rule = make_value_rule(range(-1.0, 1.0), typed(DType::kFloat32));
  for (const std::size_t count : {std::size_t{1}, std::size_t{7}, kFloats - 1, kFloats, kFloats + 1, 3 * kFloats + 5}) {
    for (const std::size_t at : {std::size_t{0}, count / 2, count - 1}) {
      for (const float wrong : {kNan, kInf, -kInf, 1.5F, -1.5F}) {
        std::vector<float> values(count, 0.5F);
        std::vector<float> copy(count);
        Findings findings;
        EXPECT_TRUE(rule->take(values.data(), copy.data(), count, &findings).ok());
        EXPECT_TRUE(copy == values);
        values[at] = wrong;
        bool must_change = true;
        for (const Status& status : {rule->take(values.data(), copy.data(), count, &findings),
                                     rule->look(values.data(), count, &findings, &must_change)}) {
          EXPECT_EQ(ErrorCode::kInvalidInput, status.code);
          EXPECT_EQ(static_cast<std::int64_t>(at), status.index);
          EXPECT_EQ(std::bit_cast<std::uint64_t>(static_cast<double>(wrong)), static_cast<std::uint64_t>(status.value));
          const Reason wanted = !std::isfinite(wrong) ? Reason::kNotFinite
                                : wrong > 0           ? Reason::kAboveMaximum
                                                      : Reason::kBelowMinimum;
          EXPECT_EQ(wanted, status.reason);
          if (wanted == Reason::kAboveMaximum) EXPECT_EQ(1.0, as_double(status.limit));
        }
        EXPECT_FALSE(must_change);
      }
    }
  }
}

TEST(ValueRule, ReadsNothingBeyondTheEnd) {
  const auto rule = make_value_rule(range(0, 1), typed(DType::kInt32));
  for (std::size_t count = 0; count <= 40; ++count) {
    std::vector<std::int32_t> values(count + 1, 0);
    values[count] = 99;
    Findings findings;
    bool must_change = false;
    EXPECT_TRUE(rule->look(values.data(), count, &findings, &must_change).ok());
  }
}

TEST(ValueRule, ChangesTheCopyAndNotTheCallersMemory) {
  InputRule rule = range(-2.0, 3.0, "clip");
  rule.finite = "clip";
  const auto made = make_value_rule(rule, typed(DType::kFloat32));
  const std::vector<float> given{kInf, -kInf, 5.0F, -5.0F, 0.0F};
  std::vector<float> copy(5);
  Findings findings;
  EXPECT_TRUE(made->take(given.data(), copy.data(), 5, &findings).ok());
  EXPECT_TRUE((copy == std::vector<float>{3.0F, -2.0F, 3.0F, -2.0F, 0.0F}));
  EXPECT_EQ(kInf, given[0]);
  EXPECT_EQ(4u, findings.changed);
  EXPECT_EQ(2u, findings.nonfinite);
  std::vector<float> own = given;
  EXPECT_TRUE(made->take(own.data(), own.data(), 5, &findings).ok());
  EXPECT_TRUE(own == copy);
}

TEST(ValueRule, LookingSaysThatACopyIsNeededAndCountsNothing) {
  InputRule rule;
  rule.finite = "replace";
  rule.replace_with = 7.0;
  const auto made = make_value_rule(rule, typed(DType::kFloat64));
  std::vector<double> values{1.0, std::nan(""), 2.0};
  Findings findings;
  bool must_change = false;
  EXPECT_TRUE(made->look(values.data(), 3, &findings, &must_change).ok());
  EXPECT_TRUE(must_change);
  EXPECT_EQ(0u, findings.changed + findings.nonfinite);
  EXPECT_TRUE(made->take(values.data(), values.data(), 3, &findings).ok());
  EXPECT_EQ(7.0, values[1]);
  EXPECT_EQ(1u, findings.changed);
}

TEST(ValueRule, NanHasNoSideToBeClippedTo) {
  InputRule rule;
  rule.finite = "clip";
  const auto made = make_value_rule(rule, typed(DType::kFloat32));
  std::vector<float> values{kInf, kNan};
  Findings findings;
  const Status status = made->take(values.data(), values.data(), 2, &findings);
  EXPECT_EQ(Reason::kNotFinite, status.reason);
  EXPECT_EQ(1, status.index);
  EXPECT_EQ(std::numeric_limits<float>::max(), values[0]);
}

TEST(ValueRule, WholeNumbersStayExactAtTheirEnds) {
  const std::int64_t top = std::numeric_limits<std::int64_t>::max();
  const auto made = make_value_rule(range(top - 1, top - 1), typed(DType::kInt64));
  Findings findings;
  bool must_change = false;
  std::int64_t value = top - 1;
  EXPECT_TRUE(made->look(&value, 1, &findings, &must_change).ok());
  value = top;  // the same double
  EXPECT_EQ(Reason::kAboveMaximum, made->look(&value, 1, &findings, &must_change).reason);
  const std::uint64_t all = std::numeric_limits<std::uint64_t>::max();
  const auto wide = make_value_rule(range(std::uint64_t{0}, all - 1), typed(DType::kUInt64));
  const Status status = wide->look(&all, 1, &findings, &must_change);
  EXPECT_EQ(Reason::kAboveMaximum, status.reason);
  EXPECT_EQ(all, static_cast<std::uint64_t>(status.value));
}

TEST(ValueRule, WhatTheTypeCannotHoldIsRefusedAtLoad) {
  const auto max_of = [](Number max) {
    InputRule rule;
    rule.max = max;
    return rule;
  };
  EXPECT_EQ("max", refused(max_of(300), DType::kUInt8));
  EXPECT_EQ("max", refused(max_of(0.5), DType::kInt64));
  EXPECT_EQ("max", refused(max_of(9223372036854775808.0), DType::kInt64));
  EXPECT_EQ("max", refused(max_of(-1), DType::kUInt16));
  EXPECT_EQ("max", refused(max_of(1e39), DType::kFloat32));
  EXPECT_EQ("max", refused(max_of(65520), DType::kFloat16));  // rounds to infinity
  EXPECT_EQ("", refused(max_of(65519), DType::kFloat16));
  EXPECT_EQ("max", refused(max_of(2), DType::kBool));
  EXPECT_EQ("min", refused(max_of(2), DType::kString));
  EXPECT_EQ("", refused(max_of(255), DType::kUInt8));
  EXPECT_EQ("", refused(max_of(7.0), DType::kInt32));
  EXPECT_EQ("min", refused(range(2, 1), DType::kInt32));
  InputRule clip;
  clip.finite = "clip";
  EXPECT_EQ("finite", refused(clip, DType::kInt32));
  clip.finite = "drop";
  EXPECT_EQ("finite", refused(clip, DType::kFloat32));
  InputRule replace = range(0.0, 1.0);
  replace.finite = "replace";
  replace.replace_with = 2.0;
  EXPECT_EQ("replace_with", refused(replace, DType::kFloat32));
  InputRule listed = range(0, 1);
  listed.allowed = {Number{0}};
  EXPECT_EQ("allowed", refused(listed, DType::kInt32));
}

TEST(ValueRule, WithoutAnythingToLookAtThereIsNone) {
  InputRule plain;
  EXPECT_TRUE(make_value_rule(plain, typed(DType::kInt64)) == nullptr);
  EXPECT_TRUE(make_value_rule(plain, typed(DType::kString)) == nullptr);
  EXPECT_TRUE(make_value_rule(plain, typed(DType::kFloat32)) != nullptr);  // finite
  plain.finite = "allow";
  EXPECT_TRUE(make_value_rule(plain, typed(DType::kFloat32)) == nullptr);
}

TEST(ValueRule, OutputsAreRefusedWithTheirOwnCode) {
  OutputRule rule;
  rule.max = 1.0;
  const auto made = make_value_rule(rule, typed(DType::kFloat32));
  const float values[] = {0.0F, 2.0F};
  Findings findings;
  bool must_change = false;
  EXPECT_EQ(ErrorCode::kModelOutputInvalid, made->look(values, 2, &findings, &must_change).code);
}

TEST(ValueRule, AListHasGapsAndBothZeros) {
  InputRule rule;
  rule.allowed = {Number{0.0}, Number{2.5}, Number{-1.0}};
  const auto made = make_value_rule(rule, typed(DType::kFloat16));
  Findings findings;
  bool must_change = false;
  const std::uint16_t good[] = {0x0000, 0x8000, 0x4100, 0xBC00};  // 0, -0, 2.5, -1
  EXPECT_TRUE(made->look(good, 4, &findings, &must_change).ok());
  const std::uint16_t wrong[] = {0x4100, 0x3C00};  // 2.5, 1: between the ends, not on the list
  const Status status = made->look(wrong, 2, &findings, &must_change);
  EXPECT_EQ(Reason::kNotAllowed, status.reason);
  EXPECT_EQ(1, status.index);
  EXPECT_EQ(1.0, as_double(status.value));
  EXPECT_EQ(3, status.limit);
}

TEST(ValueRule, BothZerosAreOneNumberInEveryType) {
  const std::uint16_t zeros16[] = {0x0000, 0x8000};
  const float zeros32[] = {0.0F, -0.0F};
  for (const double zero : {0.0, -0.0}) {
    InputRule low;
    low.min = zero;
    InputRule high;
    high.max = zero;
    InputRule listed;
    listed.allowed = {Number{zero}};
    for (const InputRule& rule : {low, high, listed}) {
      for (const DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
        const void* const zeros = dtype == DType::kFloat32 ? static_cast<const void*>(zeros32) : zeros16;
        Findings findings;
        bool must_change = false;
        EXPECT_TRUE(make_value_rule(rule, typed(dtype))->look(zeros, 2, &findings, &must_change).ok());
      }
    }
  }
}

TEST(Elements, SixteenBitNumbersRoundToTheNearest) {
  for (std::uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const auto here = static_cast<std::uint16_t>(bits);
    const double value = Float16::wide(here);
    std::uint16_t made = 0;
    EXPECT_TRUE(Float16::from(Number{value}, &made));
    EXPECT_EQ(here, made);
    EXPECT_TRUE(Float16::from(Number{-value}, &made));
    if (bits != 0) EXPECT_EQ(here | 0x8000, made);
    if (bits + 1 == 0x7C00) continue;
    const double middle = (value + static_cast<double>(Float16::wide(static_cast<std::uint16_t>(bits + 1)))) / 2;
    EXPECT_TRUE(Float16::from(Number{middle}, &made));
    EXPECT_EQ((bits & 1U) == 0 ? bits : bits + 1, std::uint32_t{made});
    EXPECT_TRUE(Float16::from(Number{std::nextafter(middle, 1e9)}, &made));
    EXPECT_EQ(bits + 1, std::uint32_t{made});
  }
  std::uint16_t made = 0;
  EXPECT_TRUE(BFloat16::from(Number{0.1}, &made));
  EXPECT_EQ(0x3DCD, made);
  EXPECT_FALSE(BFloat16::from(Number{3.4e38}, &made));
}

TEST(Elements, SixteenBitOrderIsThatOfTheNumbers) {
  std::vector<std::uint16_t> all;
  for (std::uint32_t bits = 0; bits <= 0xFFFF; bits += 7) {
    if (!BFloat16::is_nan(static_cast<std::uint16_t>(bits))) all.push_back(static_cast<std::uint16_t>(bits));
  }
  for (std::size_t i = 1; i < all.size(); ++i) {
    const std::uint16_t a = all[i - 1];
    const std::uint16_t b = all[all.size() - i];
    EXPECT_EQ(BFloat16::wide(a) < BFloat16::wide(b), BFloat16::order(a) < BFloat16::order(b));
  }
}

TEST(OddBlock, TheChosenLoopSaysWhatThePlainOneSays) {
  const auto chosen = any_outside_here<Element<float>>();
  std::vector<float> values(kFloats, 0.25F);
  for (std::size_t at = 0; at < kFloats; at += 37) {
    for (const float value : {kNan, -kNan, kInf, -kInf, 2.0F, 1.0F, -0.0F, std::nextafter(1.0F, 2.0F)}) {
      values[at] = value;
      const bool wanted = !(value >= -1.0F && value <= 1.0F);
      EXPECT_EQ(wanted, chosen(values.data(), kFloats, -1.0F, 1.0F));
      EXPECT_EQ(wanted, any_outside_plain<Element<float>>(values.data(), kFloats, -1.0F, 1.0F));
    }
    values[at] = 0.25F;
  }
}
