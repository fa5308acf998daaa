// SPDX-License-Identifier: Apache-2.0
//
// The loader over the real ONNX Runtime and real models: which of them may share a run, and what is refused.
#include <filesystem>
#include <random>

#include "model/loader.h"
#include "onnx/wire_walk.h"
#include "ort/ort_fixture.h"
#include "support/check.h"
#include "support/temp_dir.h"
#include "support/wire_writer.h"

using anya::Error;
using anya::ErrorCode;
using anya::LoadedModel;
using anya::ModelSource;
namespace fixture = anya::ort::test;

namespace {

std::string catalogue(const std::string& name) {
  return fixture::from_environment("ANYA_TEST_MODELS") + "/catalogue/" + name;
}

LoadedModel load(const ModelSource& source, const anya::ModelOptions& options = {}, const anya::LoadSeams& seams = {}) {
  const std::shared_ptr<anya::ort::Runtime> runtime = fixture::runtime();
  const anya::SteadyClock clock;
  return anya::load_model(
      source, options,
      [&](auto model, auto external, const anya::SessionOptions& session) {
        return runtime->open_session(model, external, session);
      },
      clock, seams);
}
LoadedModel load(const std::string& name) { return load(ModelSource{catalogue(name), {}}); }

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST(RealLoad, ModelsWithIndependentRowsAreBatched) {
  for (const char* name : {"tiny", "medium", "two_inputs", "unnamed_batch", "sequence", "several_outputs", "strings",
                           "identity_float16", "identity_bfloat16", "identity_bool", "identity_int8", "identity_uint64",
                           "overridable", "poison", "version_1", "external", "slow"}) {
    const LoadedModel loaded = load(std::string(name));
    if (!EXPECT_TRUE(loaded.batchable)) std::fprintf(stderr, "  %s: %s\n", name, loaded.batching_note.c_str());
    EXPECT_TRUE(loaded.warmed_up);
    EXPECT_TRUE(loaded.batch_axis);
  }
}

TEST(RealLoad, ModelsWhoseRowsDependOnTheirCompanyRunAlone) {
  struct Row {
    const char* name;
    const char* words;
  };
  for (const Row& row :
       {Row{"softmax_axis0", "depends on the other rows"}, Row{"centred", "depends on the other rows"},
        Row{"reversed_rows", "depends on the other rows"}, Row{"late_rows", "depends on the other rows"},
        Row{"first_row_capped", "depends on the other rows"}, Row{"positive_rows", "'Compress'"},
        Row{"quantised_mlp", "'DynamicQuantizeLinear'"}, Row{"noise", "random"}, Row{"unlike_batch", "'N' and 'M'"},
        Row{"total", "scalar"}, Row{"scalar", "scalar"}, Row{"fixed_batch", "fixed first dimension 1"}}) {
    const LoadedModel loaded = load(std::string(row.name));
    EXPECT_FALSE(loaded.batchable);
    if (!EXPECT_NE(loaded.batching_note.find(row.words), std::string::npos)) {
      std::fprintf(stderr, "  %s: %s\n", row.name, loaded.batching_note.c_str());
    }
  }
}

TEST(RealLoad, ShapesArePredictedWhereTheyFollowFromTheRows) {
  EXPECT_EQ(load("tiny").output_predictable, std::vector<bool>{true});
  EXPECT_EQ(load("sequence").output_predictable, (std::vector<bool>{false, true}));
  EXPECT_EQ(load("unused_symbol").output_predictable, std::vector<bool>{false});
  EXPECT_EQ(load("positive_rows").output_predictable, std::vector<bool>{false});
  EXPECT_EQ(load("strings").output_predictable, (std::vector<bool>{false, false}));
  EXPECT_EQ(load("total").output_predictable, std::vector<bool>{true});
  EXPECT_EQ(load("fixed_batch").output_predictable, std::vector<bool>{true});
}

TEST(RealLoad, ExternalDataOutsideTheMainGraphIsRefusedBeforeOnnxRuntimeSeesIt) {
  const std::string folder = fixture::from_environment("ANYA_TEST_MODELS");
  for (const char* name : {"external_subgraph", "external_sparse", "external_constant", "external_outside"}) {
    EXPECT_ERROR(ErrorCode::kModelInvalid, load(ModelSource{folder + "/" + name + ".onnx", {}}));
  }
}

TEST(RealLoad, ADirectoryAFileAndBytesHaveOneDigest) {
  const anya::test::TempDir dir;
  const std::string bytes = bytes_of(catalogue("tiny/model.onnx"));
  ASSERT_TRUE(!bytes.empty());
  const std::string file = dir.write("ranker.onnx", bytes);
  const std::string digest = load("tiny").digest;
  EXPECT_EQ(digest, load(ModelSource{file, {}}).digest);
  EXPECT_EQ(digest, load(ModelSource{{}, anya::test::as_span(bytes)}).digest);
  EXPECT_NE(digest, load("medium").digest);
}

TEST(RealLoad, AnEndlessModelDoesNotHangTheLoad) {
  anya::LoadSeams seams;
  seams.max_warm_up_milliseconds = 50;
  const LoadedModel loaded =
      load(ModelSource{fixture::from_environment("ANYA_TEST_MODELS") + "/endless.onnx", {}}, {}, seams);
  EXPECT_FALSE(loaded.warmed_up);
  EXPECT_NE(loaded.batching_note.find("ran longer than 50 ms"), std::string::npos);
}

TEST(RealLoad, ARealModelCutAtEveryByteIsRefusedOrWhole) {
  const std::string whole = bytes_of(catalogue("tiny/model.onnx"));
  ASSERT_TRUE(whole.size() > 1000);
  std::size_t accepted = 0;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    try {
      anya::onnx::walk_model(anya::test::as_span(whole).first(size));
      ++accepted;
    } catch (const Error& error) {
      if (error.code() != ErrorCode::kModelInvalid) EXPECT_TRUE(!"the right code");
    }
  }
  EXPECT_LT(accepted, 3u);  // cut exactly between two top-level fields it is well-formed; ONNX Runtime says the rest
}

TEST(RealLoad, DamagedModelsAreRefusedOrRunNeverACrash) {
  // Whatever passes the walk goes on into ONNX Runtime, as in a real load.
  const std::string whole = bytes_of(catalogue("several_outputs/model.onnx"));
  ASSERT_TRUE(!whole.empty());
  std::mt19937_64 random(7);
  const std::shared_ptr<anya::ort::Runtime> runtime = fixture::runtime();
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string damaged = whole;
    for (std::uint64_t i = 0; i < 1 + random() % 4; ++i)
      damaged[random() % damaged.size()] = static_cast<char>(random());
    try {
      anya::onnx::walk_model(anya::test::as_span(damaged));
      if (round % 10 == 0) runtime->open_session(anya::test::as_span(damaged), {}, {});
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 300);
}
