// SPDX-License-Identifier: Apache-2.0
#include "anya/status.h"

#include <set>

#include "anya/tensor.h"
#include "support/check.h"

using anya::ErrorCode;
using anya::Reason;
using anya::Status;

TEST(Status, EveryCodeHasItsOwnStableName) {
  std::set<std::string_view> names;
  for (int code = 0; code < anya::kErrorCodeCount; ++code) names.insert(anya::code_name(static_cast<ErrorCode>(code)));
  EXPECT_EQ(names.size(), static_cast<std::size_t>(anya::kErrorCodeCount));
  EXPECT_EQ(names.count("UNKNOWN"), 0u);
  EXPECT_EQ(anya::code_name(ErrorCode::kInvalidInput), "INVALID_INPUT");
  EXPECT_EQ(anya::code_name(static_cast<ErrorCode>(200)), "UNKNOWN");
}

TEST(Status, SentencesCarryValueAndLimit) {
  const auto full = anya::describe(Status::failure(ErrorCode::kOverloaded, Reason::kQueueFull, 7, 8), "ranker:2");
  EXPECT_NE(full.find("ranker:2"), std::string::npos);
  EXPECT_NE(full.find("7 requests"), std::string::npos);
  EXPECT_NE(full.find("max_queue_size is 8"), std::string::npos);
  const auto late =
      anya::describe(Status::failure(ErrorCode::kDeadlineExceeded, Reason::kExpiredInQueue, 20'000'000), "m:1");
  EXPECT_NE(late.find("20.000 ms"), std::string::npos);
}

TEST(Status, TextIsKeptAsItIs) {
  const Status status = Status::with_text(ErrorCode::kExecutionError, "Gather: index 9 is out of bounds");
  EXPECT_FALSE(status.ok());
  EXPECT_EQ(anya::describe(status, ""), "Gather: index 9 is out of bounds");
  EXPECT_EQ(anya::describe(status, "m:1"), "model 'm:1': Gather: index 9 is out of bounds");
}

TEST(Status, NoReasonHasNoSentence) {
  for (int reason = 0; reason <= static_cast<int>(Reason::kSymbolDisagree); ++reason) {
    const auto text =
        anya::describe(Status::failure(ErrorCode::kUnavailable, static_cast<Reason>(reason), 1, 2), "m:1");
    EXPECT_GT(text.size(), std::string("model 'm:1': ").size());
  }
}

TEST(Status, InputFaultsNameTheInput) {
  anya::ModelSchema schema;
  schema.inputs = {{"x", anya::DType::kFloat32, anya::Shape{-1, 4}, {"N", ""}}};
  Status status = Status::failure(ErrorCode::kInvalidInput, Reason::kWrongDimension, 5, 4);
  status.tensor = 0;
  status.axis = 1;
  const auto text = anya::describe(status, "m:1", &schema);
  EXPECT_NE(text.find("input 'x' has size 5 on axis 1"), std::string::npos);
  EXPECT_NE(text.find("[?, 4]"), std::string::npos);
  status.tensor = 7;  // an index the schema does not have: still a sentence
  EXPECT_NE(anya::describe(status, "m:1", &schema).find("an input has size 5"), std::string::npos);
}
