// SPDX-License-Identifier: Apache-2.0
#include "ort/schema.h"

#include "anya/status.h"
#include "ort_fixture.h"
#include "support/check.h"

namespace anya::ort::test {
namespace {

TensorSpec spec(const std::string& name, DType dtype, Shape shape, std::vector<std::string> symbols) {
  return {name, dtype, shape, std::move(symbols), true};
}

void refused(const std::string& model, const std::string& name, const std::string& why) {
  EXPECT_ERROR(ErrorCode::kModelInvalid, open(model));
  try {
    open(model);
  } catch (const Error& error) {
    const std::string message = error.what();
    if (!EXPECT_TRUE(contains(message, name) && contains(message, why))) std::fprintf(stderr, "%s\n", message.c_str());
  }
}

}  // namespace

TEST(Schema, NamesTypesShapesAndSymbolsAreTheModels) {
  const auto session = open("schema");
  const std::vector<TensorSpec>& in = session->schema().inputs;
  ASSERT_EQ(std::size_t{4}, in.size());
  EXPECT_TRUE(in[0] == spec("a", DType::kFloat32, {-1, 3, -1}, {"batch", "", ""}));
  EXPECT_TRUE(in[1] == spec("s", DType::kInt64, {}, {}));
  EXPECT_TRUE(in[2] == spec("one", DType::kFloat32, {1}, {""}));
  EXPECT_TRUE(in[3] == spec("dims", DType::kInt64, {-1}, {"rank"}));
  const std::vector<TensorSpec>& out = session->schema().outputs;
  ASSERT_EQ(std::size_t{4}, out.size());
  EXPECT_TRUE(out[0] == spec("a_out", DType::kFloat32, {-1, 3, -1}, {"batch", "", ""}));
  EXPECT_EQ(std::string("scalar"), out[3].name);
}

TEST(Schema, AnUnknownNumberOfAxesIsNotTakenForAScalar) {
  const auto session = open("schema");
  EXPECT_FALSE(session->schema().outputs[2].ranked);
  EXPECT_TRUE(session->schema().outputs[3].ranked);
  EXPECT_EQ(std::size_t{0}, session->schema().outputs[3].shape.rank());
}

TEST(Schema, EveryElementTypeWeRunIsRead) {
  const auto session = open("types");
  std::vector<DType> seen;
  for (const TensorSpec& input : session->schema().inputs) {
    seen.push_back(input.dtype);
    EXPECT_EQ(input.name, std::string(dtype_name(input.dtype)));
  }
  EXPECT_EQ(std::size_t{13}, seen.size());
  EXPECT_TRUE(open("strings")->schema().inputs[0].dtype == DType::kString);
}

TEST(Schema, WhatIsNoTensorIsRefusedByName) {
  refused("sequence_output", "sequence", "is a sequence");
  refused("map_input", "dictionary", "is a map");
  refused("optional_input", "maybe", "is an optional");
}

TEST(Schema, AnElementTypeOrRankWeDoNotRunIsRefusedByName) {
  refused("float8_input", "tiny", "element type 17");
  refused("many_axes", "x", "17 axes");
}

}  // namespace anya::ort::test
