// SPDX-License-Identifier: Apache-2.0
#include "onnx/operators.h"

#include "anya/options.h"
#include "anya/status.h"
#include "support/check.h"
#include "support/wire_writer.h"

using namespace anya::test;
using anya::Error;
using anya::ErrorCode;
using anya::onnx::allow_list_fault;
using anya::onnx::walk_model;
using anya::onnx::WalkLimits;

TEST(Operators, TheListsSayWhatMayRun) {
  WalkLimits limits;
  limits.domains = anya::ContentLimits().domains;
  EXPECT_EQ(allow_list_fault(limits, "", "Relu"), "");
  EXPECT_EQ(allow_list_fault(limits, "ai.onnx.ml", "Scaler"), "");
  EXPECT_EQ(allow_list_fault(limits, "com.microsoft", "Gelu"), "");
  EXPECT_NE(allow_list_fault(limits, "com.example", "Relu"), "");
  EXPECT_NE(allow_list_fault(limits, "com.microsoft.nchwc", "Conv"), "");
  limits.operators = {"Relu", "com.microsoft.Gelu"};
  EXPECT_EQ(allow_list_fault(limits, "", "Relu"), "");
  EXPECT_EQ(allow_list_fault(limits, "com.microsoft", "Gelu"), "");
  EXPECT_NE(allow_list_fault(limits, "", "Gelu"), "");
  EXPECT_NE(allow_list_fault(limits, "com.microsoft", "Relu"), "");
  EXPECT_EQ(allow_list_fault(WalkLimits(), "com.example", "Anything"), "");
}

TEST(Operators, AFunctionOfTheModelIsWhatItsNodesAre) {
  WalkLimits limits;
  limits.domains = {"ai.onnx"};
  const auto with_function = [](const char* inner) {
    const Wire function = Wire().bytes(1, "f").message(7, wire::node(inner, {"a"}, {"b"}, "")).bytes(10, "own");
    return wire::model(Wire().message(1, wire::node("f", {"x"}, {"y"}, "own"))).message(25, function);
  };
  EXPECT_EQ(walk_model(with_function("Relu").span(), limits).node_count, 2u);
  limits.operators = {"Add"};
  EXPECT_ERROR(ErrorCode::kModelInvalid, walk_model(with_function("Relu").span(), limits));
  limits.operators.clear();
  EXPECT_ERROR(ErrorCode::kModelInvalid,
               walk_model(wire::model(Wire().message(1, wire::node("f", {"x"}, {"y"}, "own"))).span(), limits));
}

TEST(Operators, ThoseThatLoadFilesOrCodeAreForbiddenWhateverIsAllowed) {
  for (const char* type : {"EPContext", "PyOp", "PythonOp", "Snpe"}) {
    EXPECT_ERROR(ErrorCode::kModelInvalid,
                 walk_model(wire::model(Wire().message(1, wire::node(type, {"x"}, {"y"}, "com.microsoft"))).span()));
  }
}
