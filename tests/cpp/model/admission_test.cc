// SPDX-License-Identifier: Apache-2.0
#include "model/admission.h"

#include <memory>
#include <vector>

#include "support/check.h"
#include "support/fake_session.h"
#include "support/value_request.h"

using namespace anya::test;
using anya::Admission;
using anya::DType;
using anya::ErrorCode;
using anya::ModelSchema;
using anya::Reason;
using anya::Request;
using anya::Shape;
using anya::Status;
using anya::TensorView;

namespace {

constexpr DType kF = DType::kFloat32;
constexpr DType kI = DType::kInt64;
constexpr std::int64_t kHuge = std::int64_t{1} << 40;

// Two inputs with rows and one free dimension they share, one output that follows from the rows and one that does not.
ModelSchema two_inputs() {
  return {{spec("ids", kI, {-1, -1, 4}, {"N", "L", ""}), spec("mask", kF, {-1, -1}, {"N", "L"})},
          {spec("scores", kF, {-1, 3}), spec("spans", kI, {-1, -1})}};
}
Admission::Rules rows_rules(std::int64_t max_bytes = INT64_MAX) { return {true, {true, false}, max_bytes}; }

struct Given {
  DType dtype;
  Shape shape;
};
struct PlainRequest : Request {
  PlainRequest(anya::RequestOwner& owner, const std::vector<Given>& given, std::vector<std::uint32_t> wanted)
      : Request(owner) {
    for (const Given& each : given) inputs.push_back({each.dtype, each.shape, nullptr, 0});  // no data: none is touched
    output_indices = std::move(wanted);
  }
};

// A schema with rules, and the requests made to it.
struct Door {
  Door(ModelSchema the_schema, Admission::Rules rules)
      : schema(std::move(the_schema)), admission(schema, std::move(rules)) {}
  PlainRequest& ask(const std::vector<Given>& given, std::vector<std::uint32_t> wanted = {}) {
    if (wanted.empty()) {
      for (std::uint32_t i = 0; i < schema.outputs.size(); ++i) wanted.push_back(i);
    }
    requests.push_back(std::make_unique<PlainRequest>(owner, given, std::move(wanted)));
    status = admission.check(*requests.back());
    return *requests.back();
  }
  std::uint64_t signature(const std::vector<Given>& given, std::vector<std::uint32_t> wanted = {}) {
    const std::uint64_t out = ask(given, std::move(wanted)).signature;
    EXPECT_TRUE(status.ok());
    return out;
  }
  const ModelSchema schema;
  const Admission admission;
  CountingOwner owner;
  std::vector<std::unique_ptr<PlainRequest>> requests;
  Status status;
};

}  // namespace

TEST(Admission, EveryRefusalNamesTheInputTheAxisTheValueAndTheLimit) {
  const auto number = [](DType dtype) { return static_cast<std::int64_t>(dtype); };
  const struct {
    const char* fact;
    std::vector<Given> given;
    Reason reason;
    int tensor, axis;
    std::int64_t value, limit;
  } table[] = {
      {"dtype of the first", {{kF, {2, 5, 4}}, {kF, {2, 5}}}, Reason::kWrongDType, 0, 0, number(kF), number(kI)},
      {"dtype of the second",
       {{kI, {2, 5, 4}}, {DType::kFloat64, {2, 5}}},
       Reason::kWrongDType,
       1,
       0,
       number(DType::kFloat64),
       number(kF)},
      {"no dtype", {{DType::kUndefined, {2, 5, 4}}, {kF, {2, 5}}}, Reason::kWrongDType, 0, 0, 0, number(kI)},
      {"rank too small", {{kI, {5, 4}}, {kF, {2, 5}}}, Reason::kWrongRank, 0, 0, 2, 3},
      {"rank too large", {{kI, {2, 5, 4}}, {kF, {2, 5, 1}}}, Reason::kWrongRank, 1, 0, 3, 2},
      {"a scalar", {{kI, {}}, {kF, {2, 5}}}, Reason::kWrongRank, 0, 0, 0, 3},
      {"a fixed dimension", {{kI, {2, 5, 3}}, {kF, {2, 5}}}, Reason::kWrongDimension, 0, 2, 3, 4},
      {"no rows", {{kI, {0, 5, 4}}, {kF, {0, 5}}}, Reason::kEmptyDimension, 0, 0, 0, 1},
      {"an empty free dimension", {{kI, {2, 0, 4}}, {kF, {2, 0}}}, Reason::kEmptyDimension, 0, 1, 0, 1},
      {"a negative dimension", {{kI, {2, 5, 4}}, {kF, {2, -5}}}, Reason::kEmptyDimension, 1, 1, -5, 1},
      {"rows that disagree", {{kI, {2, 5, 4}}, {kF, {3, 5}}}, Reason::kRowsDisagree, 1, 0, 3, 2},
      {"one row against many is not broadcast", {{kI, {2, 5, 4}}, {kF, {1, 5}}}, Reason::kRowsDisagree, 1, 0, 1, 2},
      {"one name, two sizes", {{kI, {2, 5, 4}}, {kF, {2, 6}}}, Reason::kSymbolDisagree, 1, 1, 6, 5},
  };
  Door door(two_inputs(), rows_rules());
  for (const auto& row : table) {
    door.ask(row.given);
    const Status& status = door.status;
    const bool right = EXPECT_EQ(status.code, ErrorCode::kInvalidInput) && EXPECT_EQ(status.reason, row.reason) &&
                       EXPECT_EQ(status.tensor, row.tensor) && EXPECT_EQ(status.axis, row.axis) &&
                       EXPECT_EQ(status.value, row.value) && EXPECT_EQ(status.limit, row.limit);
    if (!right) std::fprintf(stderr, "  fact: %s\n", row.fact);
  }
}

TEST(Admission, FillsWhatARunNeeds) {
  Door door(two_inputs(), rows_rules());
  const PlainRequest& request = door.ask({{kI, {3, 5, 4}}, {kF, {3, 5}}});
  EXPECT_TRUE(door.status.ok());
  EXPECT_EQ(request.rows, 3);
  EXPECT_EQ(request.inputs[0].bytes, 3u * 5 * 4 * 8);
  EXPECT_EQ(request.inputs[1].bytes, 3u * 5 * 4);
  ASSERT_EQ(request.outputs.size(), 2u);
  EXPECT_EQ(request.outputs[0].dtype, kF);
  EXPECT_TRUE((request.outputs[0].shape == Shape{3, 3}));
  EXPECT_EQ(request.outputs[0].bytes, 3u * 3 * 4);
  EXPECT_EQ(request.outputs[1].dtype, kI);  // its shape is known after the run only
  EXPECT_EQ(request.outputs[1].bytes, 0u);
  EXPECT_TRUE(request.outputs[1].data == nullptr);
}

TEST(Admission, OnlyTheWantedOutputsInTheirOrder) {
  Door door(two_inputs(), rows_rules());
  const PlainRequest& request = door.ask({{kI, {3, 5, 4}}, {kF, {3, 5}}}, {1});
  EXPECT_TRUE(door.status.ok());
  ASSERT_EQ(request.outputs.size(), 1u);
  EXPECT_EQ(request.outputs[0].dtype, kI);
}

TEST(Admission, EqualSignaturesAreThoseThatMayShareARun) {
  Door door(two_inputs(), rows_rules());
  const std::uint64_t five = door.signature({{kI, {2, 5, 4}}, {kF, {2, 5}}});
  EXPECT_NE(five, 0u);
  EXPECT_EQ(five, door.signature({{kI, {9, 5, 4}}, {kF, {9, 5}}}));  // rows do not matter
  EXPECT_NE(five, door.signature({{kI, {2, 6, 4}}, {kF, {2, 6}}}));
  EXPECT_NE(five, door.signature({{kI, {2, 5, 4}}, {kF, {2, 5}}}, {0}));
  EXPECT_NE(five, door.signature({{kI, {2, 5, 4}}, {kF, {2, 5}}}, {1, 0}));
  EXPECT_EQ(five, door.signature({{kI, {2, 5, 4}}, {kF, {2, 5}}}, {0, 1}));
}

TEST(Admission, SignatureZeroMeansOneShapeAndAllOutputs) {
  const ModelSchema fixed{{spec("x", kF, {-1, 4})}, {spec("y", kF, {-1, 3}), spec("z", kF, {-1})}};
  Door door(fixed, {true, {true, true}, INT64_MAX});
  EXPECT_EQ(door.signature({{kF, {1, 4}}}), 0u);
  EXPECT_EQ(door.signature({{kF, {70, 4}}}), 0u);
  EXPECT_NE(door.signature({{kF, {1, 4}}}, {0}), 0u);
  EXPECT_NE(door.signature({{kF, {1, 4}}}, {1, 0}), 0u);
  EXPECT_NE(door.signature({{kF, {1, 4}}}, {0}), door.signature({{kF, {1, 4}}}, {1}));
  // Free beyond the rows, or no rows at all: never the one shape.
  Door free({{spec("x", kF, {-1, -1})}, {spec("y", kF, {-1, 3})}}, {true, {true}, INT64_MAX});
  EXPECT_NE(free.signature({{kF, {1, 4}}}), 0u);
  Door alone({{spec("x", kF, {-1, 4})}, {spec("y", kF, {-1, 3})}}, {false, {false}, INT64_MAX});
  EXPECT_NE(alone.signature({{kF, {1, 4}}}), 0u);
}

TEST(Admission, TheByteLimitIsHeldFromShapesAlone) {
  const struct {
    const char* fact;
    std::vector<Given> given;
    std::int64_t max_bytes;
    bool admitted;
    std::int64_t value;
  } table[] = {
      {"exactly the limit", {{kI, {1, 2, 4}}, {kF, {1, 2}}}, 72, true, 0},
      {"one byte above", {{kI, {1, 2, 4}}, {kF, {1, 2}}}, 71, false, 72},
      {"the first input alone above", {{kI, {1, 2, 4}}, {kF, {1, 2}}}, 63, false, 64},
      {"four tebibytes of broadcast", {{kI, {kHuge / 32, 1, 4}}, {kF, {kHuge / 32, 1}}}, 256 << 20, false, kHuge},
      {"elements overflow", {{kI, {kHuge, kHuge, 4}}, {kF, {kHuge, kHuge}}}, 256 << 20, false, INT64_MAX},
      {"bytes overflow",
       {{kI, {kHuge, std::int64_t{1} << 21, 4}}, {kF, {kHuge, std::int64_t{1} << 21}}},
       256 << 20,
       false,
       INT64_MAX},
      {"above the largest whole number",
       {{kI, {kHuge, 1 << 18, 4}}, {kF, {kHuge, 1 << 18}}},
       INT64_MAX,
       false,
       INT64_MAX},
  };
  for (const auto& row : table) {
    Door door(two_inputs(), rows_rules(row.max_bytes));
    door.ask(row.given);
    bool right = EXPECT_EQ(door.status.ok(), row.admitted);
    if (!row.admitted) {
      right = EXPECT_EQ(door.status.code, ErrorCode::kInputTooLarge) && right;
      right = EXPECT_EQ(door.status.reason, Reason::kRequestTooLarge) && right;
      right = EXPECT_EQ(door.status.value, row.value) && EXPECT_EQ(door.status.limit, row.max_bytes) && right;
    }
    if (!right) std::fprintf(stderr, "  fact: %s\n", row.fact);
  }
}

// An input that cannot even be counted is never said to be as small as those before it.
TEST(Admission, AnOverflowAfterASmallInputIsStillSaidToBeHuge) {
  const ModelSchema schema{{spec("a", kF, {-1, 1}), spec("b", kF, {-1, -1, -1})}, {spec("y", kF, {-1})}};
  Door door(schema, {true, {true}, 256 << 20});
  door.ask({{kF, {1, 1}}, {kF, {1, kHuge, kHuge}}});
  EXPECT_EQ(door.status.code, ErrorCode::kInputTooLarge);
  EXPECT_EQ(door.status.value, INT64_MAX);
}

TEST(Admission, AnOutputThatOverflowsIsTooLarge) {
  const ModelSchema schema{{spec("x", DType::kUInt8, {-1})}, {spec("y", kF, {-1, kHuge})}};
  Door door(schema, {true, {true}, INT64_MAX});
  door.ask({{DType::kUInt8, {kHuge}}});
  EXPECT_EQ(door.status.code, ErrorCode::kInputTooLarge);
}

TEST(Admission, WithoutABatchAxisShapesAreTakenAsTheyAre) {
  const ModelSchema schema{{spec("a", kF, {-1, 2}, {"P", ""}), spec("b", kF, {-1}, {"Q"}), spec("c", kF, {-1}, {"P"})},
                           {spec("y", kF, {-1}), spec("z", kF, {5, 5})}};
  Door door(schema, {false, {false, true}, INT64_MAX});
  const PlainRequest& request = door.ask({{kF, {3, 2}}, {kF, {7}}, {kF, {3}}});
  EXPECT_TRUE(door.status.ok());
  EXPECT_EQ(request.rows, 0);
  EXPECT_TRUE((request.outputs[1].shape == Shape{5, 5}));
  EXPECT_EQ(request.outputs[1].bytes, 100u);
  door.ask({{kF, {3, 2}}, {kF, {7}}, {kF, {4}}});
  EXPECT_EQ(door.status.reason, Reason::kSymbolDisagree);  // P names the first axis here too
}

TEST(Admission, AnUnrankedInputTakesAnyShapeButAnEmptyOne) {
  ModelSchema schema{{spec("x", kF, {})}, {spec("y", kF, {})}};
  schema.inputs[0].ranked = schema.outputs[0].ranked = false;
  Door door(schema, {false, {false}, INT64_MAX});
  for (const Shape& shape : {Shape{}, Shape{3}, Shape{2, 3, 4}}) {
    EXPECT_NE(door.signature({{kF, shape}}), 0u);
  }
  door.ask({{kF, {2, 0}}});
  EXPECT_EQ(door.status.reason, Reason::kEmptyDimension);
  door.ask({{kI, {2}}});
  EXPECT_EQ(door.status.reason, Reason::kWrongDType);
}

TEST(Admission, AScalarInputOfAFixedModelIsFine) {
  Door door({{spec("x", kF, {})}, {spec("y", kF, {})}}, {false, {true}, INT64_MAX});
  const PlainRequest& request = door.ask({{kF, {}}});
  EXPECT_TRUE(door.status.ok());
  EXPECT_EQ(request.inputs[0].bytes, 4u);
  EXPECT_EQ(request.outputs[0].bytes, 4u);
  EXPECT_EQ(request.signature, 0u);
}

TEST(Admission, RulesOfSizesAreLimitsToTheUnit) {
  using Kind = anya::ShapeRules::AxisLimit::Kind;
  Admission::Rules rules = rows_rules();
  rules.shapes.axis_limits = {{0, 0, 1, 4, Kind::kRows}, {0, 1, 2, 8, Kind::kNamed}};
  rules.shapes.max_bytes = {INT64_MAX, 4 * 7 * 4};
  Door door(two_inputs(), rules);
  const auto ask = [&](std::int64_t rows, std::int64_t length) {
    door.ask({{kI, {rows, length, 4}}, {kF, {rows, length}}});
    return door.status;
  };
  EXPECT_TRUE(ask(4, 7).ok());
  EXPECT_EQ(Reason::kTensorTooLarge, ask(4, 8).reason);
  EXPECT_EQ(ErrorCode::kInputTooLarge, ask(4, 8).code);
  EXPECT_EQ(1, ask(4, 8).tensor);
  EXPECT_EQ(Reason::kTooManyRows, ask(5, 2).reason);
  EXPECT_EQ(ErrorCode::kInputTooLarge, ask(5, 2).code);
  EXPECT_EQ(Reason::kDimensionTooLarge, ask(1, 9).reason);
  EXPECT_EQ(ErrorCode::kInvalidInput, ask(1, 9).code);
  EXPECT_TRUE(ask(1, 2).ok());
  EXPECT_EQ(Reason::kDimensionTooSmall, ask(1, 1).reason);
}
