// SPDX-License-Identifier: Apache-2.0
//
// The loader over a fake session: what is read, in which order, and what the runs at load decide.
#include "model/loader.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <thread>

#include "anya/trust.h"
#include "support/check.h"
#include "support/fake_session.h"
#include "support/temp_dir.h"
#include "support/wire_writer.h"

using namespace anya::test;
using anya::DType;
using anya::Error;
using anya::ErrorCode;
using anya::load_model;
using anya::LoadedModel;
using anya::LoadSeams;
using anya::ModelOptions;
using anya::ModelSchema;
using anya::NamedBytes;
using anya::OutputBuffer;
using anya::Shape;
using anya::Status;
using anya::TensorView;

namespace {

constexpr DType kF = DType::kFloat32;
using Inputs = std::span<const TensorView>;
using Outputs = std::span<OutputBuffer>;
using Answer = std::function<Status(Inputs, Outputs)>;

ModelSchema schema_of(Shape in = {-1, 2}, Shape out = {-1, 2}) { return {{spec("x", kF, in)}, {spec("y", kF, out)}}; }

std::vector<float> floats(const TensorView& view) {
  const auto* first = static_cast<const float*>(view.data);
  return {first, first + view.bytes / sizeof(float)};
}
Status give(OutputBuffer& output, const Shape& shape, const std::vector<float>& data) {
  return give_output(output, kF, shape, data.data());
}
// y = 2x
Status twice(Inputs inputs, Outputs outputs) {
  std::vector<float> data = floats(inputs[0]);
  for (float& value : data) value *= 2;
  return give(outputs[0], inputs[0].shape, data);
}

LoadedModel load(const Answer& answer, const ModelSchema& schema = schema_of(), const ModelOptions& options = {},
                 const Wire& model = wire::model(wire::add_graph()), const LoadSeams& seams = {}) {
  const anya::SteadyClock clock;
  const auto open = [&](std::span<const std::byte>, std::span<const NamedBytes>, const anya::SessionOptions&) {
    return std::make_unique<FakeSession>(schema, [answer](Inputs inputs, std::span<const std::uint32_t>,
                                                          Outputs outputs) { return answer(inputs, outputs); });
  };
  return load_model({{}, model.span()}, options, open, clock, seams);
}
bool notes(const LoadedModel& loaded, const char* words) {
  return EXPECT_TRUE(loaded.batching_note.find(words) != std::string::npos) ||
         (std::fprintf(stderr, "  note: %s\n", loaded.batching_note.c_str()), false);
}

}  // namespace

TEST(Loader, IndependentRowsAreBatched) {
  const LoadedModel loaded = load(twice);
  EXPECT_TRUE(loaded.batchable);
  EXPECT_TRUE(loaded.batch_axis);
  EXPECT_TRUE(loaded.warmed_up);
  EXPECT_EQ(loaded.output_predictable, std::vector<bool>{true});
  EXPECT_EQ(loaded.digest.size(), 64u);
  EXPECT_EQ(loaded.file_bytes, wire::model(wire::add_graph()).str().size());
  notes(loaded, "same answers alone and together");
}

TEST(Loader, RowsThatDependOnTheirCompanyRunAlone) {
  const LoadedModel loaded = load([](Inputs inputs, Outputs outputs) {
    std::vector<float> data = floats(inputs[0]);
    float sum = 0;
    for (const float value : data) sum += value;
    for (float& value : data) value += sum;
    return give(outputs[0], inputs[0].shape, data);
  });
  EXPECT_FALSE(loaded.batchable);
  EXPECT_TRUE(loaded.batch_axis);  // several rows in one request are still rows
  notes(loaded, "output 'y' of a row depends on the other rows");
}

TEST(Loader, RowsThatDependOnTheirPlaceRunAlone) {
  const LoadedModel loaded = load([](Inputs inputs, Outputs outputs) {
    std::vector<float> data = floats(inputs[0]);
    for (std::size_t i = 4; i < data.size(); ++i) data[i] = 0;  // the third row and later
    return give(outputs[0], inputs[0].shape, data);
  });
  EXPECT_FALSE(loaded.batchable);
}

TEST(Loader, ToleranceIsTheOptions) {
  const Answer nearly = [](Inputs inputs, Outputs outputs) {
    std::vector<float> data = floats(inputs[0]);
    for (float& value : data) value *= inputs[0].shape[0] > 1 ? 1.0005F : 1.0F;
    return give(outputs[0], inputs[0].shape, data);
  };
  EXPECT_TRUE(load(nearly).batchable);
  ModelOptions strict;
  strict.batch_check_rtol = 1e-6;
  strict.batch_check_atol = 0;
  EXPECT_FALSE(load(nearly, schema_of(), strict).batchable);
}

TEST(Loader, NanEverywhereIsEqual) {
  EXPECT_TRUE(load([](Inputs inputs, Outputs outputs) {
                const std::vector<float> data(static_cast<std::size_t>(inputs[0].shape[0]) * 2,
                                              std::numeric_limits<float>::quiet_NaN());
                return give(outputs[0], inputs[0].shape, data);
              }).batchable);
}

TEST(Loader, ForceOverrulesTheCheckAndSaysSo) {
  ModelOptions options;
  options.batching.force = true;
  const LoadedModel loaded = load(
      [](Inputs inputs, Outputs outputs) {
        std::vector<float> data = floats(inputs[0]);
        for (float& value : data) value += static_cast<float>(inputs[0].shape[0]);
        return give(outputs[0], inputs[0].shape, data);
      },
      schema_of(), options);
  EXPECT_TRUE(loaded.batchable);
  notes(loaded, "batched because batching.force is set, although output 'y'");
}

TEST(Loader, AnswersThatAreNoRowsCannotBeForced) {
  ModelOptions options;
  options.batching.force = true;
  const LoadedModel loaded = load(
      [](Inputs inputs, Outputs outputs) {
        std::vector<float> data = floats(inputs[0]);
        data.resize(2);
        return give(outputs[0], {1, 2}, data);  // one row, however many came in
      },
      schema_of(), options);
  EXPECT_FALSE(loaded.batchable);
  EXPECT_FALSE(loaded.batch_axis);
  EXPECT_EQ(loaded.output_predictable, std::vector<bool>{false});
  notes(loaded, "output 'y' has shape [1, 2] for 4 rows");
}

TEST(Loader, AShapePredictedWronglyOnceIsNotPredicted) {
  // The schema says [N, 2] for `odd`; for several rows the model gives [N, 3].
  const ModelSchema schema{{spec("x", kF, {-1, 2})}, {spec("y", kF, {-1, 2}), spec("odd", kF, {-1, 2})}};
  const LoadedModel loaded = load(
      [](Inputs inputs, Outputs outputs) {
        const std::int64_t rows = inputs[0].shape[0];
        const Shape odd{rows, rows > 1 ? 3 : 2};
        if (Status status = give(outputs[1], odd, std::vector<float>(static_cast<std::size_t>(rows) * 3)); !status.ok())
          return status;
        return twice(inputs, outputs);
      },
      schema);
  EXPECT_EQ(loaded.output_predictable, (std::vector<bool>{true, false}));
  EXPECT_FALSE(loaded.batchable);
}

TEST(Loader, AModelThatDoesNotTakeMadeUpRowsLoadsAndRunsAlone) {
  const LoadedModel loaded =
      load([](Inputs, Outputs) { return Status::with_text(ErrorCode::kExecutionError, "bad index"); });
  EXPECT_FALSE(loaded.batchable);
  EXPECT_FALSE(loaded.warmed_up);
  EXPECT_FALSE(loaded.batch_axis);
  EXPECT_EQ(loaded.output_predictable, std::vector<bool>{false});
  notes(loaded, "could not be checked");
  notes(loaded, "bad index");
}

TEST(Loader, AModelThatFailsOnlyTogetherRunsAlone) {
  const LoadedModel loaded = load([](Inputs inputs, Outputs outputs) {
    if (inputs[0].shape[0] > 1) return Status::with_text(ErrorCode::kExecutionError, "one at a time");
    return twice(inputs, outputs);
  });
  EXPECT_FALSE(loaded.batchable);
  EXPECT_TRUE(loaded.warmed_up);
  notes(loaded, "one at a time");
}

TEST(Loader, FreeDimensionsAreTriedAtSeveralSizesAndAgree) {
  const ModelSchema schema{{spec("a", kF, {-1, -1}, {"N", "T"}), spec("b", kF, {-1, -1}, {"N", "T"})},
                           {spec("y", kF, {-1})}};
  std::vector<std::int64_t> seen;
  const LoadedModel loaded = load(
      [&seen](Inputs inputs, Outputs outputs) {
        EXPECT_TRUE(inputs[0].shape == inputs[1].shape);
        if (seen.empty() || seen.back() != inputs[0].shape[1]) seen.push_back(inputs[0].shape[1]);
        if (inputs[0].shape[1] > 1) return Status::with_text(ErrorCode::kExecutionError, "too long");
        const std::vector<float> data = floats(inputs[0]);
        return give(outputs[0], {inputs[0].shape[0]}, data);
      },
      schema);
  EXPECT_TRUE(loaded.batchable);
  EXPECT_EQ(seen, (std::vector<std::int64_t>{8, 1}));
}

TEST(Loader, IntegersAreSmallNumbersWhereTheModelTakesThemElseBits) {
  const ModelSchema schema{{spec("i", DType::kInt64, {-1, 6})}, {spec("y", kF, {-1, 6})}};
  LoadSeams unmeasured;
  unmeasured.run_times_milliseconds = 0;  // those runs use bits only
  const auto table = [&](std::int64_t size, float beyond) {
    std::int64_t largest = 0;
    const LoadedModel loaded = load(
        [&](Inputs inputs, Outputs outputs) {
          const auto* index = static_cast<const std::int64_t*>(inputs[0].data);
          largest = 0;
          std::vector<float> data;
          for (std::int64_t i = 0; i < inputs[0].shape[0] * 6; ++i) {
            largest = std::max(largest, index[i]);
            data.push_back(index[i] < size ? static_cast<float>(index[i]) : beyond);
          }
          if (largest >= size && beyond < 0)
            return Status::with_text(ErrorCode::kExecutionError, "index out of bounds");
          return give(outputs[0], inputs[0].shape, data);
        },
        schema, {}, wire::model(wire::add_graph()), unmeasured);
    EXPECT_TRUE(loaded.batchable);
    return largest;
  };
  EXPECT_GT(table(100, -1), 1);
  EXPECT_LE(table(50, -1), 1);                                      // some of the rows fail
  EXPECT_LE(table(2, -1), 1);                                       // small numbers fail
  EXPECT_LE(table(2, std::numeric_limits<float>::quiet_NaN()), 1);  // small numbers give no number
}

TEST(Loader, ACouplingOperatorDecidesWithoutAComparison) {
  int runs = 0;
  const Wire model = wire::model(Wire().message(1, wire::node("DynamicQuantizeLinear", {"x"}, {"y"})));
  const LoadedModel loaded = load(
      [&runs](Inputs inputs, Outputs outputs) {
        ++runs;
        return twice(inputs, outputs);
      },
      schema_of(), {}, model);
  EXPECT_FALSE(loaded.batchable);
  EXPECT_TRUE(loaded.batch_axis);
  EXPECT_EQ(loaded.row_coupling_ops, std::vector<std::string>{"DynamicQuantizeLinear"});
  EXPECT_EQ(loaded.output_predictable, std::vector<bool>{true});
  EXPECT_EQ(runs, 3);  // one row alone, two batches for the shapes
  notes(loaded, "'DynamicQuantizeLinear' makes rows depend on each other");
}

TEST(Loader, AnOperatorWhoseShapeIsItsDatasIsNeverPredicted) {
  const Wire model = wire::model(Wire().message(1, wire::node("Unique", {"x"}, {"y"})));
  const LoadedModel loaded = load(twice, schema_of(), {}, model);  // by accident the shapes fit
  EXPECT_EQ(loaded.output_predictable, std::vector<bool>{false});
  EXPECT_FALSE(loaded.batch_axis);
}

TEST(Loader, ARandomOperatorRunsAlone) {
  const Wire model = wire::model(Wire().message(1, wire::node("RandomNormalLike", {"x"}, {"y"})));
  const LoadedModel loaded = load(twice, schema_of(), {}, model);
  EXPECT_FALSE(loaded.batchable);
  EXPECT_EQ(loaded.random_ops, std::vector<std::string>{"RandomNormalLike"});
  notes(loaded, "random");
}

TEST(Loader, WithoutABatchAxisTheModelIsWarmedUpAsItIs) {
  std::vector<Shape> shapes;
  const LoadedModel loaded = load(
      [&shapes](Inputs inputs, Outputs outputs) {
        shapes.push_back(inputs[0].shape);
        return give(outputs[0], {3}, {1, 2, 3});
      },
      schema_of({1, -1}, {3}));
  EXPECT_FALSE(loaded.batchable);
  ASSERT_EQ(shapes.size(), 1u);
  EXPECT_TRUE(shapes[0] == (Shape{1, 8}));
  EXPECT_EQ(loaded.output_predictable, std::vector<bool>{true});
  notes(loaded, "fixed first dimension 1");
}

TEST(Loader, RowsTooLargeToMakeUpAreNotMade) {
  ModelOptions options;
  options.max_request_bytes = 31;  // four rows of two floats are 32
  const LoadedModel loaded =
      load([](Inputs, Outputs) -> Status { throw std::runtime_error("ran"); }, schema_of(), options);
  EXPECT_FALSE(loaded.warmed_up);
  notes(loaded, "more than 31 bytes");
}

namespace {

// A session whose run lasts until it is terminated.
class EndlessSession final : public anya::Session {
 public:
  [[nodiscard]] const ModelSchema& schema() const noexcept override { return schema_; }
  [[nodiscard]] const std::vector<std::string>& providers() const noexcept override { return providers_; }
  [[nodiscard]] std::unique_ptr<anya::RunControl> make_run_control() override {
    return std::make_unique<FakeRunControl>();
  }
  Status run(anya::RunControl& control, Inputs, std::span<const std::uint32_t>, Outputs) noexcept override {
    while (!static_cast<FakeRunControl&>(control).terminated()) std::this_thread::yield();
    return Status::failure(ErrorCode::kExecutionError, anya::Reason::kNone);
  }

 private:
  const ModelSchema schema_ = schema_of();
  const std::vector<std::string> providers_;
};

}  // namespace

TEST(Loader, AnEndlessModelIsStoppedLoadsAndRunsAlone) {
  const anya::SteadyClock clock;
  const Wire model = wire::model(wire::add_graph());
  LoadSeams seams;
  seams.max_warm_up_milliseconds = 20;
  const LoadedModel loaded = load_model(
      {{}, model.span()}, {}, [](auto, auto, const auto&) { return std::make_unique<EndlessSession>(); }, clock, seams);
  EXPECT_FALSE(loaded.warmed_up);
  notes(loaded, "ran longer than 20 ms");
}

TEST(Loader, ExternalWeightsComeFromWhatWasReadAndAreInTheDigest) {
  const TempDir dir;
  const Wire model = wire::model(Wire().raw(wire::add_graph().str()).message(5, wire::external("w", "data/w.bin")));
  dir.write("m/model.onnx", model.str());
  dir.write("m/data/w.bin", "12345678");
  const anya::SteadyClock clock;
  std::vector<std::string> given;
  const auto open = [&](std::span<const std::byte> bytes, std::span<const NamedBytes> external,
                        const anya::SessionOptions&) {
    EXPECT_EQ(bytes.size(), model.str().size());
    for (const NamedBytes& file : external) {
      given.push_back(file.name + "=" +
                      std::string(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size()));
    }
    return std::make_unique<FakeSession>(
        schema_of(), [](Inputs i, std::span<const std::uint32_t>, Outputs o) { return twice(i, o); });
  };
  const LoadedModel first = load_model({dir / "m", {}}, {}, open, clock);
  EXPECT_EQ(given, std::vector<std::string>{"data/w.bin=12345678"});
  EXPECT_EQ(first.files, (std::vector<std::string>{"model.onnx", "data/w.bin"}));
  dir.write("m/data/w.bin", "12345679");
  EXPECT_NE(load_model({dir / "m", {}}, {}, open, clock).digest, first.digest);
  dir.write("m/data/w.bin", "1234567");  // the tensor needs eight bytes
  EXPECT_ERROR(ErrorCode::kModelInvalid, load_model({dir / "m", {}}, {}, open, clock));
  std::filesystem::remove(dir / "m/data/w.bin");
  EXPECT_ERROR(ErrorCode::kModelLoadError, load_model({dir / "m", {}}, {}, open, clock));
}

TEST(Loader, NothingIsParsedBeforeItsSignatureIsGoodNorOpenedBeforeTheWholeIs) {
  bool opened = false;
  const auto open = [&](auto, auto, const auto&) -> std::unique_ptr<anya::Session> {
    opened = true;
    return nullptr;
  };
  const anya::SteadyClock clock;
  const anya::test::TempDir dir;
  anya::generate_key(dir / "k", "P-256", "");
  anya::ModelOptions options;
  anya::TrustOptions trust;
  trust.mode = "signature";
  trust.keys = {dir / "k.pub"};
  options.trust = std::make_shared<anya::Trust>(trust, [] { return std::int64_t{0}; });
  std::vector<ErrorCode> verdicts;
  options.on_verdict = [&](const anya::TrustVerdict& verdict) { verdicts.push_back(verdict.code); };
  // Garbage: had it been parsed first, the code would be kModelInvalid.
  dir.write("m/model.onnx", "garbage");
  EXPECT_ERROR(ErrorCode::kSignatureMissing, load_model({dir / "m", {}, "m"}, options, open, clock));
  anya::sign_model(dir / "m", dir / "k", "");
  EXPECT_ERROR(ErrorCode::kModelInvalid, load_model({dir / "m", {}, "m"}, options, open, clock));
  const Wire model = wire::model(wire::add_graph());
  dir.write("m/model.onnx", {reinterpret_cast<const char*>(model.span().data()), model.span().size()});
  EXPECT_ERROR(ErrorCode::kHashMismatch, load_model({dir / "m", {}, "m"}, options, open, clock));
  anya::sign_model(dir / "m", dir / "k", "");
  dir.write("m/extra", "");
  EXPECT_ERROR(ErrorCode::kUnsignedFile, load_model({dir / "m", {}, "m"}, options, open, clock));
  EXPECT_FALSE(opened);
  anya::sign_model(dir / "m", dir / "k", "");
  EXPECT_ERROR(ErrorCode::kModelLoadError, load_model({dir / "m", {}, "m"}, options, open, clock));  // a null session
  EXPECT_TRUE(opened);
  EXPECT_EQ(verdicts, (std::vector<ErrorCode>{ErrorCode::kSignatureMissing, ErrorCode::kModelInvalid,
                                              ErrorCode::kHashMismatch, ErrorCode::kUnsignedFile, ErrorCode::kOk}));
}
