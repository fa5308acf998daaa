// SPDX-License-Identifier: Apache-2.0
#include "model/rule_book.h"

#include <limits>
#include <string>
#include <vector>

#include "model/checked_session.h"
#include "support/check.h"
#include "support/fake_session.h"

using namespace anya::test;
using anya::AxisSpec;
using anya::DimRule;
using anya::DType;
using anya::ErrorCode;
using anya::InputRule;
using anya::ModelRules;
using anya::ModelSchema;
using anya::Number;
using anya::OutputRule;
using anya::Reason;
using anya::RuleBook;
using anya::Shape;
using anya::ShapeRules;
using anya::Status;
using anya::TensorView;

namespace {

ModelSchema two_inputs() {
  return {{spec("ids", DType::kInt64, {-1, -1}, {"N", "L"}), spec("mask", DType::kFloat32, {-1, -1}, {"N", ""}),
           spec("text", DType::kString, {-1}, {"N"})},
          {spec("scores", DType::kFloat32, {-1, 3})}};
}

InputRule input(const char* name) {
  InputRule rule;
  rule.input = name;
  return rule;
}

std::string refusal(const ModelRules& rules, ErrorCode code) {
  try {
    const RuleBook book(rules, two_inputs());
    return "(taken)";
  } catch (const anya::Error& error) {
    EXPECT_EQ(code, error.code());
    return error.what();
  }
}

bool has(const std::string& sentence, const char* words) { return sentence.find(words) != std::string::npos; }

}  // namespace

TEST(RuleBook, WithoutRulesNothingIsLookedAt) {
  const RuleBook book({}, two_inputs());
  EXPECT_FALSE(book.checks_values(0));
  EXPECT_FALSE(book.checks_outputs());
  EXPECT_TRUE(book.shapes().axis_limits.empty());
  EXPECT_TRUE(book.shapes().max_bytes.empty());
  EXPECT_TRUE(book.read().empty());
  EXPECT_TRUE(book.checks_values(2));  // strings always are
}

TEST(RuleBook, ANameInAStatedShapeJoinsTheModelsOwn) {
  ModelRules rules;
  InputRule mask = input("mask");
  mask.shape = std::vector<AxisSpec>{{-1, ""}, {-1, "L"}};
  rules.inputs = {mask};
  rules.dims.push_back(DimRule{"L", 2, 8});
  const RuleBook book(rules, two_inputs());
  ASSERT_EQ(std::size_t{1}, book.shapes().same_sizes.size());
  const ShapeRules::SameSize& same = book.shapes().same_sizes[0];
  EXPECT_EQ(1, same.input);
  EXPECT_EQ(1, same.axis);
  EXPECT_EQ(0, same.other_input);
  EXPECT_EQ(1, same.other_axis);
  EXPECT_EQ(std::size_t{2}, book.shapes().axis_limits.size());  // ids and mask both
}

TEST(RuleBook, WhatDoesNotFitTheModelIsRefusedByItsPlace) {
  ModelRules unknown;
  unknown.inputs = {input("id")};
  EXPECT_TRUE(has(refusal(unknown, ErrorCode::kConfigError), "inputs.id: the model has no such input; it has 'ids'"));
  unknown.inputs[0].from_file = true;
  EXPECT_TRUE(has(refusal(unknown, ErrorCode::kModelInvalid), "schema.toml: inputs.id:"));

  ModelRules dtype;
  dtype.inputs = {input("ids")};
  dtype.inputs[0].dtype = "int32";
  EXPECT_TRUE(has(refusal(dtype, ErrorCode::kConfigError), "inputs.ids.dtype: says int32, the model has int64"));

  ModelRules shape;
  OutputRule scores;
  scores.output = "scores";
  scores.shape = std::vector<AxisSpec>{{-1, ""}, {4, ""}};
  shape.outputs = {scores};
  EXPECT_TRUE(has(refusal(shape, ErrorCode::kConfigError), "outputs.scores.shape: says 4 on axis 1"));

  ModelRules fraction;
  fraction.inputs = {input("ids")};
  fraction.inputs[0].max = 0.5;
  EXPECT_TRUE(has(refusal(fraction, ErrorCode::kConfigError), "inputs.ids.max: 0.5"));

  ModelRules text;
  text.inputs = {input("ids")};
  text.inputs[0].max_length = 3;
  EXPECT_TRUE(has(refusal(text, ErrorCode::kConfigError), "inputs.ids.max_length: rules of text are for strings"));

  ModelRules dims;
  dims.dims.push_back(DimRule{"K", 1, 2});
  EXPECT_TRUE(has(refusal(dims, ErrorCode::kConfigError), "dims.K: no input has a dimension of that name"));
}

TEST(RuleBook, ChangesAreCountedOnlyWhenTheRequestPasses) {
  ModelRules rules;
  InputRule mask = input("mask");
  mask.min = Number{0.0};
  mask.max = Number{1.0};
  mask.on_range = "clip";
  rules.inputs = {mask};
  RuleBook book(rules, two_inputs());
  float values[] = {2.0F, 0.5F, std::numeric_limits<float>::quiet_NaN()};
  TensorView view{DType::kFloat32, Shape{1, 3}, values, sizeof values};
  std::uint64_t changed = 0;
  const Status status = book.check_input(1, view, values, &changed);
  EXPECT_EQ(Reason::kNotFinite, status.reason);
  EXPECT_EQ(1, status.tensor);
  ASSERT_EQ(std::size_t{1}, book.read().size());  // text has no rule of its own
  EXPECT_EQ(0u, book.read()[0].sanitized);
  EXPECT_EQ(1u, book.read()[0].nonfinite);
  float fine[] = {2.0F, -2.0F, 0.5F};
  view.data = fine;
  EXPECT_TRUE(book.check_input(1, view, nullptr, &changed).ok());
  EXPECT_EQ(UINT64_MAX, changed);
  EXPECT_TRUE(book.check_input(1, view, fine, &changed).ok());
  EXPECT_EQ(2u, changed);
  EXPECT_EQ(2u, book.read()[0].sanitized);
  EXPECT_EQ(1.0F, fine[0]);
}

TEST(CheckedSession, ARunWithAWrongAnswerHasFailed) {
  ModelRules rules;
  OutputRule scores;
  scores.output = "scores";
  rules.outputs = {scores};
  RuleBook book(rules, two_inputs());
  float last = 0.5F;
  anya::CheckedSession session(std::make_unique<FakeSession>(two_inputs(),
                                                             [&](auto, auto, std::span<anya::OutputBuffer> outputs) {
                                                               const float answer[] = {1, 2, last};
                                                               return give_output(outputs[0], DType::kFloat32,
                                                                                  Shape{1, 3}, answer);
                                                             }),
                               book);
  const auto control = session.make_run_control();
  const std::uint32_t wanted[] = {0};
  for (const bool good : {true, false}) {
    if (!good) last = std::numeric_limits<float>::quiet_NaN();
    std::vector<anya::OutputBuffer> outputs(1);
    const Status status = session.run(*control, {}, wanted, outputs);
    EXPECT_EQ(good ? ErrorCode::kOk : ErrorCode::kModelOutputInvalid, status.code);
  }
  EXPECT_EQ(1u, book.read().back().nonfinite);
}

TEST(RuleBook, OutputsMustHaveTheirShapeAndValues) {
  ModelRules rules;
  OutputRule scores;
  scores.output = "scores";
  scores.shape = std::vector<AxisSpec>{{-1, ""}, {3, ""}};
  rules.outputs = {scores};
  RuleBook book(rules, two_inputs());
  EXPECT_TRUE(book.checks_outputs());
  const float good[] = {1, 2, 3};
  const float wrong[] = {1, 2, std::numeric_limits<float>::infinity()};
  EXPECT_TRUE(book.check_output(0, Shape{1, 3}, good).ok());
  const Status values = book.check_output(0, Shape{1, 3}, wrong);
  EXPECT_EQ(ErrorCode::kModelOutputInvalid, values.code);
  EXPECT_EQ(2, values.index);
  EXPECT_EQ(0, values.tensor);
  EXPECT_EQ(Reason::kWrongDimension, book.check_output(0, Shape{1, 2}, good).reason);
  EXPECT_EQ(Reason::kWrongRank, book.check_output(0, Shape{3}, good).reason);
}
