// SPDX-License-Identifier: Apache-2.0
#include "onnx/wire_walk.h"

#include <functional>
#include <random>

#include "anya/status.h"
#include "support/check.h"
#include "support/wire_writer.h"

using anya::Error;
using anya::ErrorCode;
using anya::onnx::ModelWalk;
using anya::onnx::walk_model;
using anya::onnx::WalkLimits;
using anya::test::Wire;
namespace wire = anya::test::wire;

namespace {

Wire attribute(std::string_view name, const Wire& body) { return Wire().bytes(1, name).raw(body.str()); }

// What the refusal says; fails the test when there is none.
std::string refusal(const Wire& model, const WalkLimits& limits = {}) {
  try {
    walk_model(model.span(), limits);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModelInvalid);
    return error.what();
  }
  EXPECT_TRUE(!"refused");
  return "";
}
#define EXPECT_SAYS(text, words) EXPECT_NE(std::string(text).find(words), std::string::npos)

// A graph with every kind of field the walk knows.
Wire rich_graph() {
  const Wire body =
      Wire().message(1, wire::node("Identity", {"c"}, {"o"})).message(5, wire::tensor("c", wire::kFloat, {1}, "abcd"));
  Wire branch = wire::node("If", {"k"}, {"z"});
  branch.message(5, attribute("then_branch", Wire().message(6, body)))
      .message(5, attribute("else_branch", Wire().message(6, body)));
  Wire constant = wire::node("Constant", {}, {"k"});
  constant.message(5,
                   attribute("value", Wire().message(5, wire::tensor("", wire::kBool, {}, std::string_view("\1", 1)))));
  const Wire typed = Wire().bytes(1, "\2").varint(2, 7).bytes(7, "\5\6").bytes(8, "ints");
  const Wire sparse = Wire()
                          .message(1, wire::tensor("s", wire::kFloat, {1}, "abcd"))
                          .message(2, Wire().varint(1, 1).varint(2, 7).varint(7, 3).bytes(8, "i"))
                          .bytes(3, "\x04\x04");
  return Wire()
      .raw(wire::add_graph().str())
      .message(1, constant)
      .message(1, branch)
      .message(5, typed)
      .message(5, wire::external("w", "w.bin"))
      .message(15, sparse)
      .message(16, wire::entry("k", "v"));
}

}  // namespace

TEST(WireWalk, TellsWhatIsInAModel) {
  const ModelWalk walk =
      walk_model(wire::model(rich_graph()).message(25, Wire().message(7, wire::node("Relu", {"a"}, {"b"}))).span());
  EXPECT_EQ(walk.ir_version, 8);
  ASSERT_EQ(walk.opsets.size(), 1u);
  EXPECT_EQ(walk.opsets[0].version, 17);
  EXPECT_EQ(walk.inputs, std::vector<std::string>{"x"});
  EXPECT_EQ(walk.outputs, std::vector<std::string>{"y"});
  EXPECT_EQ(walk.node_count, 6u);  // Add, Constant, If, 2 x Identity, Relu of the function
  EXPECT_TRUE(walk.has_functions);
  EXPECT_TRUE(walk.has_sparse_initializers);
  EXPECT_FALSE(walk.has_training_info);
  ASSERT_EQ(walk.ops.size(), 5u);
  EXPECT_EQ(walk.ops[2].type, "Identity");
  EXPECT_EQ(walk.ops[2].count, 2u);
  ASSERT_EQ(walk.external.size(), 1u);
  EXPECT_EQ(walk.external[0].location, "w.bin");
  EXPECT_EQ(walk.external[0].tensor, "w");
  EXPECT_EQ(walk.external[0].needed.value_or(0), 8u);
  EXPECT_FALSE(walk.external[0].length.has_value());
}

TEST(WireWalk, SaysWhatAFileIsThatIsNoModel) {
  EXPECT_SAYS(refusal(Wire()), "empty");
  EXPECT_SAYS(refusal(Wire().raw("PK\x03\x04 and so on")), "zip");
  EXPECT_SAYS(refusal(Wire().raw("\x1f\x8b\x08 and so on")), "gzip");
  EXPECT_SAYS(refusal(Wire().raw(std::string_view("\x18\0\0\0ORTMabc", 11))), "ORT format");
  EXPECT_SAYS(refusal(Wire().raw("version https://git-lfs.github.com/spec/v1")), "LFS");
  EXPECT_SAYS(refusal(Wire().raw("hello, this is no model at all")), "not a valid ONNX model");
  EXPECT_SAYS(refusal(Wire().varint(1, 8)), "no graph");
}

TEST(WireWalk, AProducerCalledOrtmIsStillRefusedBecauseOnnxRuntimeWouldMisreadIt) {
  const Wire model = Wire().varint(1, 8).bytes(2, "ORTM").message(7, wire::add_graph());
  EXPECT_SAYS(refusal(model), "ORT format");
}

TEST(WireWalk, RefusesWhatIsNoProtobuf) {
  const Wire good = wire::model(wire::add_graph());
  EXPECT_SAYS(refusal(Wire().raw(good.str()).tag(0, 0).raw("a")), "number 0");
  for (const std::uint32_t type : {3u, 4u, 6u, 7u}) {
    EXPECT_SAYS(refusal(Wire().raw(good.str()).tag(99, type)), "of a type");
  }
  EXPECT_SAYS(refusal(Wire().raw(good.str()).tag(99, 0).raw(std::string(10, '\xff')).raw("\1")), "64 bits");
  EXPECT_SAYS(refusal(Wire().raw(good.str()).tag(99, 0).raw(std::string(9, '\xff')).raw("\2")), "64 bits");
  EXPECT_SAYS(refusal(Wire().raw(good.str()).tag(99, 0)), "ends inside");
  EXPECT_SAYS(refusal(Wire().raw(good.str()).tag(99, 2)), "ends inside");
  EXPECT_SAYS(refusal(Wire().raw(good.str()).tag(99, 2).raw_varint(5).raw("abcd")), "past its end");
  EXPECT_SAYS(refusal(Wire().raw(good.str()).tag(99, 2).raw_varint(UINT64_MAX).raw("abcd")), "past its end");
  EXPECT_SAYS(refusal(Wire().raw(good.str()).tag(99, 5).raw("abc")), "ends inside");
  EXPECT_SAYS(refusal(Wire().raw(good.str()).tag(99, 1).raw("abcdefg")), "ends inside");
  EXPECT_SAYS(refusal(Wire().raw(good.str()).raw("\xff\xff\xff\xff\xff\x01")), "field number");
  EXPECT_SAYS(refusal(Wire().varint(7, 1)), "wrong wire type");
  walk_model(
      Wire().raw(good.str()).fixed32(98, 1).fixed64(97, 1).bytes(96, "new field").span());  // a later ONNX is fine
}

TEST(WireWalk, TwentyThousandNestedGraphsAreALimitNotACrash) {
  // Built backwards: every level is three headers (node, attribute, graph) before what is inside.
  std::vector<std::string> headers;
  std::size_t size = 0;
  for (int i = 0; i < 20'000; ++i) {
    for (const std::uint32_t field : {6u, 5u, 1u}) {
      headers.push_back(Wire().tag(field, 2).raw_varint(size).str());
      size += headers.back().size();
    }
  }
  Wire graph;
  for (auto header = headers.rbegin(); header != headers.rend(); ++header) graph.raw(*header);
  EXPECT_SAYS(refusal(wire::model(graph)), "limit of 32");
}

TEST(WireWalk, DepthLimitIsExact) {
  Wire graph = Wire().bytes(2, "innermost");
  for (int i = 1; i < 32; ++i) graph = Wire().message(1, Wire().message(5, Wire().message(11, graph)));
  walk_model(wire::model(graph).span());
  graph = Wire().message(1, Wire().message(5, Wire().message(6, graph)));
  EXPECT_SAYS(refusal(wire::model(graph)), "deeper");
}

TEST(WireWalk, ExternalDataAnywhereButInTheMainGraphsInitializersIsRefused) {
  const Wire tensor = wire::external("w", "w.bin");
  const auto in_node = [](const Wire& attribute_body) {
    return wire::model(Wire().message(1, Wire().message(5, attribute_body)));
  };
  struct Row {
    const char* place;
    Wire model;
  };
  const Row rows[] = {
      {"graph/node[0]/attribute[0]/tensor", in_node(Wire().message(5, tensor))},
      {"graph/node[0]/attribute[0]/tensor[0]", in_node(Wire().message(10, tensor))},
      {"graph/node[0]/attribute[0]/graph/initializer[0]", in_node(Wire().message(6, Wire().message(5, tensor)))},
      {"graph/node[0]/attribute[0]/graph[0]/initializer[0]", in_node(Wire().message(11, Wire().message(5, tensor)))},
      {"sparse_tensor/values", in_node(Wire().message(22, Wire().message(1, tensor)))},
      {"sparse_tensor[0]/indices", in_node(Wire().message(23, Wire().message(2, tensor)))},
      {"graph/sparse_initializer[0]/values", wire::model(Wire().message(15, Wire().message(1, tensor)))},
      {"graph/sparse_initializer[0]/indices", wire::model(Wire().message(15, Wire().message(2, tensor)))},
      {"function[0]/node[0]/attribute[0]/tensor",
       wire::model(wire::add_graph()).message(25, Wire().message(7, Wire().message(5, Wire().message(5, tensor))))},
      {"function[0]/attribute[0]/tensor",
       wire::model(wire::add_graph()).message(25, Wire().message(11, Wire().message(5, tensor)))},
      {"training_info[0]/initialization/initializer[0]",
       wire::model(wire::add_graph()).message(20, Wire().message(1, Wire().message(5, tensor)))},
      {"training_info[0]/algorithm/initializer[0]",
       wire::model(wire::add_graph()).message(20, Wire().message(2, Wire().message(5, tensor)))},
  };
  for (const Row& row : rows) {
    const std::string text = refusal(row.model);
    EXPECT_SAYS(text, row.place);
    EXPECT_SAYS(text, "'w.bin'");
  }
  EXPECT_EQ(walk_model(wire::model(Wire().message(5, tensor)).span()).external.size(), 1u);
}

TEST(WireWalk, DataLocationIsReadAsProtobufReadsIt) {
  // Protobuf keeps the low 32 bits of an enum: this is EXTERNAL to ONNX Runtime, so it is to us.
  const Wire sly = Wire().varint(1, 2).varint(2, 1).message(13, wire::entry("location", "w")).varint(14, 0x100000001);
  EXPECT_EQ(walk_model(wire::model(Wire().message(5, sly)).span()).external.size(), 1u);
  EXPECT_SAYS(refusal(wire::model(Wire().message(1, Wire().message(5, Wire().message(5, sly))))), "only initializers");
  EXPECT_SAYS(refusal(wire::model(Wire().message(5, Wire().varint(14, 2)))), "does not know");
}

TEST(WireWalk, ExternalEntriesAreChecked) {
  const auto with = [](std::initializer_list<Wire> entries) {
    Wire tensor = Wire().varint(1, 2).varint(2, 1).bytes(8, "w");
    for (const Wire& entry : entries) tensor.message(13, entry);
    return wire::model(Wire().message(5, tensor.varint(14, 1)));
  };
  using wire::entry;
  const Wire place = entry("location", "w.bin");
  const ModelWalk walk =
      walk_model(with({place, entry("offset", "4096"), entry("length", "8"), entry("checksum", "x")}).span());
  EXPECT_EQ(walk.external[0].offset, 4096u);
  EXPECT_EQ(walk.external[0].length.value_or(0), 8u);
  EXPECT_SAYS(refusal(with({})), "no location");
  EXPECT_SAYS(refusal(with({entry("location", "")})), "no location");
  EXPECT_SAYS(refusal(with({place, place})), "two external locations");
  EXPECT_SAYS(refusal(with({place, entry("offset", "1"), entry("offset", "2")})), "two external offsets");
  EXPECT_SAYS(refusal(with({place, entry("basepath", "/etc")})), "basepath");
  EXPECT_SAYS(refusal(with({entry("location", "*/_ORT_MEM_ADDR_/*")})), "address in memory");
  EXPECT_SAYS(refusal(with({place, entry("length", "7")})), "ask for 8");
  for (const char* bad : {"-1", "", "1x", " 1", "0x10", "18446744073709551616", "9223372036854775808"}) {
    EXPECT_SAYS(refusal(with({place, entry("offset", bad)})), "no byte count");
  }
  const Wire half = Wire().varint(1, 2).varint(2, 1).message(13, place);
  EXPECT_SAYS(refusal(wire::model(Wire().message(5, half))), "without saying");
}

TEST(WireWalk, DimensionsMustBePossible) {
  const auto with = [](const Wire& tensor) { return wire::model(Wire().message(5, tensor)); };
  const std::int64_t big = std::int64_t{1} << 33;
  EXPECT_SAYS(refusal(with(wire::tensor("t", 1, {big, big}, ""))), "64 bits");
  EXPECT_SAYS(refusal(with(wire::tensor("t", 1, {big, big, 0}, ""))), "64 bits");
  EXPECT_SAYS(refusal(with(wire::tensor("t", 1, {0, big, big}, ""))), "64 bits");
  EXPECT_SAYS(refusal(with(wire::tensor("t", 11, {std::int64_t{1} << 60}, ""))), "64 bits");
  EXPECT_SAYS(refusal(with(wire::tensor("t", 1, {-1}, ""))), "negative dimension -1");
  EXPECT_SAYS(refusal(with(Wire().bytes(1, "\x02\x80"))), "ends inside");  // packed, cut off
  walk_model(with(wire::tensor("t", 1, {0, 5}, "")).span());
  walk_model(with(wire::tensor("t", 1, {}, "abcd")).span());
}

TEST(WireWalk, DataMustBeWhatTheDimensionsAskFor) {
  const auto with = [](const Wire& tensor) { return wire::model(Wire().message(5, tensor)); };
  EXPECT_SAYS(refusal(with(wire::tensor("t", 1, {2}, "abcdefg"))), "holds 7 raw bytes");
  EXPECT_SAYS(refusal(with(wire::tensor("t", 1, {2}, "abcdefghi"))), "ask for 8");
  EXPECT_SAYS(refusal(with(wire::tensor("t", 8, {1}, "a"))), "strings as raw bytes");
  EXPECT_SAYS(refusal(with(Wire().varint(1, 3).varint(2, 1).bytes(4, "abcdefgh"))), "2 values");
  EXPECT_SAYS(refusal(with(Wire().varint(1, 3).varint(2, 1).bytes(4, "abcdefg"))), "cut off");
  EXPECT_SAYS(refusal(with(Wire().varint(1, 1000).varint(2, 7))), "0 values");
  walk_model(with(Wire().varint(1, 2).varint(2, 1).bytes(4, "abcdefgh")).span());
  walk_model(with(Wire().varint(1, 2).varint(2, 1).fixed32(4, 1).fixed32(4, 2)).span());
  walk_model(with(Wire().varint(1, 3).varint(2, 7).bytes(7, "\1\2\3")).span());
  walk_model(with(Wire().varint(1, 2).varint(2, 8).bytes(6, "a").bytes(6, "b")).span());
  walk_model(with(Wire().varint(1, 1).varint(2, 14).bytes(4, "abcdefgh")).span());  // complex64: two floats
  walk_model(with(wire::tensor("t", 22, {3}, "ab")).span());                        // int4: two to a byte
  walk_model(with(wire::tensor("t", 99, {3}, "ab")).span());  // a type of a later ONNX: ONNX Runtime's to judge
}

TEST(WireWalk, CapsNameLimits) {
  WalkLimits limits;
  limits.max_nodes = 1;
  walk_model(wire::model(wire::add_graph()).span(), limits);
  const Wire two = Wire().raw(wire::add_graph().str()).message(1, wire::node("Relu", {"y"}, {"z"}));
  EXPECT_SAYS(refusal(wire::model(two), limits), "limit of 1");
  limits = {};
  limits.max_tensor_bytes = 8;
  walk_model(wire::model(wire::add_graph()).span(), limits);
  limits.max_tensor_bytes = 7;
  EXPECT_SAYS(refusal(wire::model(wire::add_graph()), limits), "limit of 7 bytes");
  limits = {};
  limits.max_model_bytes = 10;
  EXPECT_SAYS(refusal(wire::model(wire::add_graph()), limits), "10 at most");
  limits = {};
  limits.max_external_tensors = 1;
  const Wire both = Wire().message(5, wire::external("a", "a")).message(5, wire::external("b", "b"));
  EXPECT_SAYS(refusal(wire::model(both), limits), "limit of 1");
}

TEST(WireWalk, ASparseBombIsNotUnpacked) {
  const Wire bomb = Wire().message(1, wire::tensor("s", 1, {1}, "abcd")).varint(3, 1 << 20).varint(3, 1 << 20);
  EXPECT_SAYS(refusal(wire::model(Wire().message(15, bomb))), "unpacks to more");
  const Wire overflow = Wire().varint(3, std::uint64_t{1} << 40).varint(3, std::uint64_t{1} << 40);
  EXPECT_SAYS(refusal(wire::model(Wire().message(15, overflow))), "impossible dimensions");
}

TEST(WireWalk, FindsOperatorsThatCoupleRowsWhereverTheyAre) {
  const Wire inner = Wire().message(1, wire::node("DynamicQuantizeLinear", {"a"}, {"q", "s", "z"}, "ai.onnx"));
  Wire scan = wire::node("Scan", {"x"}, {"y"});
  scan.message(5, attribute("body", Wire().message(6, inner)));
  ModelWalk walk = walk_model(wire::model(Wire().message(1, scan)).span());
  ASSERT_EQ(walk.row_coupling_ops.size(), 1u);
  EXPECT_EQ(walk.row_coupling_ops[0].op, "DynamicQuantizeLinear");
  EXPECT_FALSE(walk.row_coupling_ops[0].changes_shape);

  walk = walk_model(wire::model(Wire()
                                    .message(1, wire::node("DynamicQuantizeMatMul", {"a", "b"}, {"c"}, "com.microsoft"))
                                    .message(1, wire::node("Unique", {"a"}, {"u"})))
                        .span());
  ASSERT_EQ(walk.row_coupling_ops.size(), 2u);
  EXPECT_EQ(walk.row_coupling_ops[1].op, "com.microsoft.DynamicQuantizeMatMul");
  EXPECT_TRUE(walk.row_coupling_ops[0].changes_shape);
  // The same word in somebody else's domain means nothing.
  EXPECT_TRUE(walk_model(wire::model(Wire().message(1, wire::node("Unique", {"a"}, {"u"}, "mine"))).span())
                  .row_coupling_ops.empty());
}

TEST(WireWalk, BatchNormalizationCouplesRowsInTrainingModeOnly) {
  const auto couples = [](std::initializer_list<std::string_view> outputs, const Wire* attribute_body) {
    Wire node = wire::node("BatchNormalization", {"x", "s", "b", "m", "v"}, outputs);
    if (attribute_body != nullptr) node.message(5, *attribute_body);
    return !walk_model(wire::model(Wire().message(1, node)).span()).row_coupling_ops.empty();
  };
  const Wire on = attribute("training_mode", Wire().varint(3, 1));
  const Wire off = attribute("training_mode", Wire().varint(3, 0));
  const Wire reference = attribute("training_mode", Wire().bytes(21, "mode"));
  EXPECT_FALSE(couples({"y"}, nullptr));
  EXPECT_FALSE(couples({"y"}, &off));
  EXPECT_TRUE(couples({"y"}, &on));
  EXPECT_TRUE(couples({"y"}, &reference));
  EXPECT_TRUE(couples({"y", "mean", "var"}, nullptr));
}

TEST(WireWalk, DropoutIsRandomUnlessItsSwitchIsPlainlyOff) {
  const auto random = [](const Wire& graph) { return walk_model(wire::model(graph).span()).random_ops; };
  const Wire dropout = wire::node("Dropout", {"x", "r", "t"}, {"y"});
  EXPECT_TRUE(random(Wire().message(1, wire::node("Dropout", {"x", "r"}, {"y"}))).empty());
  EXPECT_TRUE(random(Wire().message(1, wire::node("Dropout", {"x", "r", ""}, {"y"}))).empty());
  EXPECT_EQ(random(Wire().message(1, dropout)), std::vector<std::string>{"Dropout"});
  const auto flag = [](std::string_view value) { return wire::tensor("t", wire::kBool, {}, value); };
  EXPECT_TRUE(random(Wire().message(1, dropout).message(5, flag(std::string_view("\0", 1)))).empty());
  EXPECT_EQ(random(Wire().message(1, dropout).message(5, flag("\1"))).size(), 1u);
  Wire constant = wire::node("Constant", {}, {"t"});
  constant.message(5, attribute("value", Wire().message(5, Wire().varint(2, wire::kBool).varint(5, 0))));
  EXPECT_TRUE(random(Wire().message(1, constant).message(1, dropout)).empty());
  EXPECT_EQ(random(Wire().message(1, wire::node("RandomNormalLike", {"x"}, {"y"}))),
            std::vector<std::string>{"RandomNormalLike"});
}

TEST(WireWalk, OperatorsThatLoadFilesOrCodeAreRefused) {
  EXPECT_SAYS(refusal(wire::model(Wire().message(1, wire::node("EPContext", {"x"}, {"y"}, "com.microsoft")))),
              "EPContext");
  EXPECT_SAYS(refusal(wire::model(Wire().message(1, wire::node("PyOp", {"x"}, {"y"}, "com.microsoft")))), "PyOp");
}

TEST(WireWalk, NamesInMessagesCannotForgeLines) {
  const Wire tensor = wire::tensor("evil\nname", 1, {2}, "abc");
  EXPECT_SAYS(refusal(wire::model(Wire().message(5, tensor))), "evil\\x0aname");
}

TEST(WireWalk, CutAtEveryByteItIsRefusedNeverACrash) {
  const std::string whole = wire::model(rich_graph()).str();
  int accepted = 0;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);  // a copy of its own, so that a read past the end is seen
    try {
      walk_model(anya::test::as_span(cut));
      ++accepted;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kModelInvalid);
    }
  }
  EXPECT_EQ(accepted, 1);  // cut between the graph and the opset: well-formed protobuf, ONNX Runtime refuses it
}

TEST(WireWalk, AGraphCutAtEveryByteIsRefusedWhereTheCutIsInsideAField) {
  // The outer lengths are right, so that the walk meets the cut at its deepest.
  const std::string graph = rich_graph().str();
  for (std::size_t size = 0; size < graph.size(); ++size) {
    try {
      walk_model(wire::model(Wire().raw(graph.substr(0, size))).span());
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kModelInvalid);
    }
  }
}

TEST(WireWalk, TwentyThousandDamagedModelsNeverCrash) {
  const std::string whole =
      wire::model(rich_graph()).message(25, Wire().message(7, wire::node("Relu", {"a"}, {"b"}))).str();
  std::mt19937_64 random(42);
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string damaged = whole;
    const int flips = 1 + static_cast<int>(random() % 8);
    for (int i = 0; i < flips; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
    if (random() % 4 == 0) damaged.erase(random() % damaged.size(), random() % 16);
    try {
      walk_model(anya::test::as_span(damaged));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kModelInvalid);
      ++refused;
    }
  }
  EXPECT_GT(refused, 10'000);
}
