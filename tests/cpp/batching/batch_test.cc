// SPDX-License-Identifier: Apache-2.0
#include "batching/batch.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "support/check.h"
#include "support/fake_session.h"
#include "support/value_request.h"

using namespace anya::test;
using anya::DType;
using anya::ErrorCode;
using anya::Instance;
using anya::ModelSchema;
using anya::OutputBuffer;
using anya::Request;
using anya::Shape;
using anya::Status;
using anya::TensorView;

// Sanitizers end the program when memory cannot be had, unless they are told that a test asks for that.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}
extern "C" __attribute__((visibility("default"))) const char* __tsan_default_options() {
  return "allocator_may_return_null=1";
}

namespace {

using Bytes = std::vector<std::byte>;
constexpr DType kTypes[] = {DType::kFloat32, DType::kUInt8, DType::kInt64,
                            DType::kFloat16, DType::kBool,  DType::kFloat64};

// A model with one input and one output per type, of different row sizes; each output is its input, every byte
// inverted.
ModelSchema mixed_schema() {
  ModelSchema schema;
  std::int64_t width = 1;
  for (const DType type : kTypes) {
    const Shape shape = width == 2 ? Shape{-1} : Shape{-1, width, 2};
    schema.inputs.push_back(spec("x" + std::to_string(width), type, shape));
    schema.outputs.push_back(spec("y" + std::to_string(width), type, shape));
    ++width;
  }
  return schema;
}
Status invert(std::span<const TensorView> inputs, std::span<const std::uint32_t> indices,
              std::span<OutputBuffer> outputs) {
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const TensorView& input = inputs[indices[i]];
    Bytes bytes(input.bytes);
    for (std::size_t at = 0; at < bytes.size(); ++at) bytes[at] = ~static_cast<const std::byte*>(input.data)[at];
    if (Status status = give_output(outputs[i], input.dtype, input.shape, bytes.data()); !status.ok()) return status;
  }
  return {};
}

// A request to that model whose bytes are all its own.
struct MixedRequest : Request {
  MixedRequest(anya::RequestOwner& owner, const ModelSchema& schema, std::int64_t row_count, std::uint32_t seed,
               std::vector<std::uint32_t> wanted, bool given)
      : Request(owner) {
    rows = row_count;
    for (const anya::TensorSpec& input : schema.inputs) {
      TensorView view{input.dtype, input.shape, nullptr, 0};
      view.shape[0] = rows;
      std::uint64_t count = 0;
      EXPECT_TRUE(view.shape.element_count(&count));
      view.bytes = count * element_size(input.dtype);
      memory.push_back(std::make_unique<Bytes>(view.bytes));
      for (std::byte& byte : *memory.back()) byte = static_cast<std::byte>((seed = seed * 1664525 + 1013904223) >> 24);
      view.data = memory.back()->data();
      inputs.push_back(view);
    }
    output_indices = std::move(wanted);
    for (const std::uint32_t index : output_indices) {
      OutputBuffer output;
      if (given) {
        memory.push_back(std::make_unique<Bytes>(inputs[index].bytes));
        output = {inputs[index].dtype, inputs[index].shape, memory.back()->data(), inputs[index].bytes, nullptr};
      }
      outputs.push_back(output);
    }
  }
  [[nodiscard]] bool is_right() const {
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const TensorView& input = inputs[output_indices[i]];
      const OutputBuffer& output = outputs[i];
      if (output.data == nullptr || output.bytes != input.bytes || !(output.shape == input.shape)) return false;
      if (output.dtype != input.dtype) return false;
      for (std::size_t at = 0; at < input.bytes; ++at) {
        if (static_cast<const std::byte*>(output.data)[at] != ~static_cast<const std::byte*>(input.data)[at])
          return false;
      }
    }
    return true;
  }
  std::vector<std::unique_ptr<Bytes>> memory;
};

struct Rig {
  explicit Rig(ModelSchema schema, FakeSession::Function function) : session(std::move(schema), std::move(function)) {
    instance.control = session.make_run_control();
  }
  Status together(const std::vector<Request*>& requests, std::vector<bool> predictable) {
    return run_together(session, instance, requests, predictable);
  }
  CountingOwner owner;
  FakeSession session;
  Instance instance;
};

std::string text_of(const Status& status) { return status.text == nullptr ? "" : *status.text; }
bool contains(const std::string& text, const char* words) { return text.find(words) != std::string::npos; }

}  // namespace

TEST(Batch, RowsOfEveryTypeGoInAndComeBackToTheirOwner) {
  for (const bool given : {true, false}) {
    const ModelSchema schema = mixed_schema();
    Rig rig(schema, invert);
    const std::vector<std::uint32_t> all = {0, 1, 2, 3, 4, 5};
    std::vector<std::unique_ptr<MixedRequest>> requests;
    std::vector<Request*> batch;
    for (const std::int64_t rows : {1, 3, 2, 1}) {
      requests.push_back(std::make_unique<MixedRequest>(rig.owner, schema, rows,
                                                        static_cast<std::uint32_t>(requests.size()), all, given));
      batch.push_back(requests.back().get());
    }
    const Status status = rig.together(batch, std::vector<bool>(6, given));
    EXPECT_TRUE(status.ok());
    EXPECT_EQ(rig.session.runs(), 1);
    for (const auto& request : requests) EXPECT_TRUE(request->is_right());
  }
}

TEST(Batch, OnlyTheWantedOutputsInTheWantedOrder) {
  const ModelSchema schema = mixed_schema();
  Rig rig(schema, invert);
  MixedRequest first(rig.owner, schema, 2, 1, {5, 0}, true);
  MixedRequest second(rig.owner, schema, 1, 2, {5, 0}, false);
  EXPECT_TRUE(rig.together({&first, &second}, std::vector<bool>(6, true)).ok());
  EXPECT_TRUE(first.is_right());
  EXPECT_TRUE(second.is_right());
}

// The memory of a batch is used again: a smaller one after a larger one, and a larger one after that.
TEST(Batch, MemoryIsReusedForOtherSizes) {
  const ModelSchema schema = mixed_schema();
  Rig rig(schema, invert);
  for (const std::int64_t rows : {4, 1, 200, 2}) {
    MixedRequest first(rig.owner, schema, rows, 1, {0, 1, 2}, true);
    MixedRequest second(rig.owner, schema, 1, 2, {0, 1, 2}, true);
    EXPECT_TRUE(rig.together({&first, &second}, std::vector<bool>(6, true)).ok());
    EXPECT_TRUE(first.is_right());
    EXPECT_TRUE(second.is_right());
  }
}

TEST(Batch, AnswersOfAnotherShapeThanWasPredictedGetMemoryOfTheirOwn) {
  // Stated [N, 2], one wide in truth; the session makes the memory then, whatever it was given.
  Rig rig(value_schema(), [](auto inputs, auto, auto outputs) {
    const auto* x = static_cast<const float*>(inputs[0].data);
    std::vector<float> y;
    for (std::int64_t row = 0; row < inputs[0].shape[0]; ++row) y.push_back(x[row * kWidth]);
    outputs[0] = {};
    return give_output(outputs[0], DType::kFloat32, {inputs[0].shape[0], 1}, y.data());
  });
  ValueRequest first(rig.owner, 2, 10.0F);
  ValueRequest second(rig.owner, 1, 50.0F);
  ASSERT_TRUE(rig.together({&first, &second}, {true}).ok());
  for (const auto& [request, wanted] :
       {std::pair(&first, std::vector<float>{10, 12}), std::pair(&second, std::vector<float>{50})}) {
    const OutputBuffer& y = request->outputs[0];
    EXPECT_TRUE(y.owner != nullptr && y.shape == (Shape{request->rows, 1}));
    ASSERT_EQ(y.bytes, wanted.size() * sizeof(float));
    EXPECT_EQ(std::memcmp(y.data, wanted.data(), y.bytes), 0);
    EXPECT_TRUE(std::isnan(*static_cast<const float*>(request->given_memory())));
  }
}

TEST(Batch, AloneRunsOnItsOwnMemory) {
  const void* seen = nullptr;
  Rig rig(value_schema(), [&seen](auto inputs, auto, auto outputs) {
    seen = inputs[0].data;
    return value_model(inputs, outputs);
  });
  ValueRequest request(rig.owner, 3, 4.0F);
  EXPECT_TRUE(run_alone(rig.session, rig.instance, request).ok());
  EXPECT_TRUE(request.is_right());
  EXPECT_TRUE(seen == request.inputs[0].data);
}

TEST(Batch, StringsAreCopiedWithTheirText) {
  const ModelSchema schema{{spec("x", DType::kString, {-1, 2})}, {spec("y", DType::kString, {-1, 2})}};
  std::weak_ptr<void> made;
  Rig rig(schema, [&made](auto inputs, auto, auto outputs) {
    auto texts = std::make_shared<std::vector<std::string>>();
    const auto* x = static_cast<const std::string_view*>(inputs[0].data);
    const std::size_t count = inputs[0].bytes / sizeof(std::string_view);
    for (std::size_t i = 0; i < count; ++i) texts->push_back(std::string(x[i]) + "!");
    auto views = std::make_shared<std::vector<std::string_view>>(texts->begin(), texts->end());
    auto owner = std::make_shared<std::pair<decltype(texts), decltype(views)>>(texts, views);
    made = owner;
    outputs[0] = {DType::kString, inputs[0].shape, views->data(), inputs[0].bytes, owner};
    return Status{};
  });
  const std::string long_text(1000, 'z');
  const std::string_view one[] = {"a", ""};
  const std::string_view two[] = {"bb", long_text, std::string_view("n\0n", 3), "d"};
  ValueRequest first(rig.owner, 1, 0.0F, ValueRequest::Output::kMadeByRun);
  ValueRequest second(rig.owner, 2, 0.0F, ValueRequest::Output::kMadeByRun);
  first.inputs[0] = {DType::kString, {1, 2}, one, sizeof(one)};
  second.inputs[0] = {DType::kString, {2, 2}, two, sizeof(two)};
  EXPECT_TRUE(rig.together({&first, &second}, {false}).ok());
  EXPECT_FALSE(made.expired());  // who counts may still look at it
  let_go_of_outputs(rig.instance);
  EXPECT_TRUE(made.expired());  // the rows are copies
  const auto* y1 = static_cast<const std::string_view*>(first.outputs[0].data);
  const auto* y2 = static_cast<const std::string_view*>(second.outputs[0].data);
  EXPECT_EQ(y1[0], "a!");
  EXPECT_EQ(y1[1], "!");
  EXPECT_EQ(y2[0], "bb!");
  EXPECT_EQ(y2[1], long_text + "!");
  EXPECT_EQ(y2[2], std::string_view("n\0n!", 4));
  EXPECT_EQ(y2[3], "d!");
  EXPECT_TRUE((second.outputs[0].shape == Shape{2, 2}));
}

TEST(Batch, AnOutputThatIsNotCountedInRowsIsAnError) {
  for (const Shape& shape : {Shape{3, 2}, Shape{1, 2}, Shape{}, Shape{4}}) {
    std::weak_ptr<void> made;
    Rig rig(value_schema(), [&](auto, auto, auto outputs) {
      const float zeros[8] = {};
      Status status = give_output(outputs[0], DType::kFloat32, shape, zeros);
      made = outputs[0].owner;
      return status;
    });
    ValueRequest first(rig.owner, 1, 0.0F, ValueRequest::Output::kMadeByRun);
    ValueRequest second(rig.owner, 1, 9.0F, ValueRequest::Output::kMadeByRun);
    const Status status = rig.together({&first, &second}, {false});
    EXPECT_EQ(status.code, ErrorCode::kExecutionError);
    EXPECT_TRUE(contains(text_of(status), "output 'y'"));
    EXPECT_TRUE(contains(text_of(status), shape.to_string().c_str()));
    EXPECT_TRUE(contains(text_of(status), "2 rows"));
    let_go_of_outputs(rig.instance);
    EXPECT_TRUE(made.expired());
  }
}

TEST(Batch, ARunThatFailsTouchesNoAnswer) {
  Rig rig(value_schema(), [](auto inputs, auto, auto outputs) { return value_model(inputs, outputs); });
  ValueRequest first(rig.owner, 1, 0.0F);
  ValueRequest second(rig.owner, 1, 0.0F, ValueRequest::Output::kMadeByRun);
  second.poison();
  const Status status = rig.together({&first, &second}, {true});
  EXPECT_EQ(status.code, ErrorCode::kExecutionError);
  EXPECT_EQ(text_of(status), "poison");
  EXPECT_TRUE(std::isnan(static_cast<const float*>(first.outputs[0].data)[0]));
  EXPECT_TRUE(second.outputs[0].data == nullptr);
}

TEST(Batch, ASlabIsAlignedAndGrows) {
  anya::Slab slab;
  for (const std::size_t bytes : {0, 1, 63, 64, 65, 5000, 100, 100'000}) {
    std::byte* const memory = slab.reserve(bytes);
    ASSERT_TRUE(memory != nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % 64, 0u);
    std::memset(memory, 0x5A, bytes);
  }
  std::byte* const before = slab.reserve(100'000);
  EXPECT_TRUE(slab.reserve(10) == before);
}

TEST(Batch, AnImpossibleBatchIsOutOfMemory) {
  anya::Slab slab;
  EXPECT_TRUE(slab.reserve(std::size_t{1} << 60U) == nullptr);
  EXPECT_TRUE(slab.reserve(100) != nullptr);  // and it works again afterwards
}
