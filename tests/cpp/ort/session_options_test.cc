// SPDX-License-Identifier: Apache-2.0
#include "ort/session_options.h"

#include <algorithm>

#include "anya/status.h"
#include "ort/error.h"
#include "ort/runtime.h"
#include "ort_fixture.h"
#include "support/check.h"

namespace anya::ort::test {
namespace {

SessionOptions with_providers(std::vector<ProviderOptions> providers) {
  SessionOptions options;
  options.providers = std::move(providers);
  return options;
}
SessionOptions with_entry(const std::string& key, const std::string& value) {
  SessionOptions options;
  options.config_entries = {{key, value}};
  return options;
}

bool has_cuda() {
  const auto names = runtime()->available_providers();
  return std::find(names.begin(), names.end(), "CUDAExecutionProvider") != names.end();
}

std::string refusal(const SessionOptions& options) {
  try {
    open("scalar", options);
  } catch (const Error& error) {
    return error.code() == ErrorCode::kConfigError ? error.what() : std::string("wrong code: ") + error.what();
  }
  return "not refused";
}

}  // namespace

TEST(SessionOptions, EveryFieldIsTakenByOnnxRuntime) {
  SessionOptions options;
  options.intra_op_num_threads = 2;
  options.inter_op_num_threads = 2;
  options.allow_spinning = true;
  options.enable_mem_pattern = false;
  options.enable_cpu_mem_arena = false;
  options.config_entries = {{"session.set_denormal_as_zero", "1"}};
  for (const char* const level : {"disable", "basic", "extended", "all"}) {
    options.graph_optimization_level = level;
    const auto session = open("scalar", options);
    const std::vector<float> x = {3};
    std::vector<OutputBuffer> out(1);
    EXPECT_TRUE(run(*session, {floats({}, x)}, {0}, &out).ok());
    EXPECT_EQ(-3.0F, values<float>(out[0]).at(0));
  }
}

TEST(SessionOptions, AValueThatMeansNothingIsRefused) {
  SessionOptions options;
  options.graph_optimization_level = "most";
  EXPECT_TRUE(contains(refusal(options), "'most'"));
  options = {};
  options.intra_op_num_threads = -1;
  EXPECT_TRUE(contains(refusal(options), "intra_op_num_threads"));
  options = {};
  options.inter_op_num_threads = 1000000;
  EXPECT_TRUE(contains(refusal(options), "inter_op_num_threads"));
  EXPECT_TRUE(contains(refusal(with_providers({})), "providers"));
}

TEST(SessionOptions, EntriesThatOpenFilesOrUndoOurSafetyAreRefused) {
  for (const char* const key : {"session.model_external_initializers_file_folder_path",
                                "session.load_config_from_model",
                                "session.load_model_format",
                                "session.save_model_format",
                                "session.use_ort_model_bytes_directly",
                                "session.use_ort_model_bytes_for_initializers",
                                "session.use_external_initializer_file_buffers_directly",
                                "session.optimized_model_external_initializers_file_name",
                                "session.optimized_model_filepath",
                                "session.collect_node_memory_stats_to_file",
                                "session.node_partition_config_file",
                                "session.resource_cuda_partitioning_settings",
                                "session.enable_profiling",
                                "ep.context_enable",
                                "ep.context_file_path",
                                "session.save_external_prepacked_constant_initializers",
                                "session.moe.offload.derived_cache_dir",
                                "session.moe.offload.source_root",
                                "session.moe.offload.popularity_file",
                                "session.intra_op.allow_spinning",
                                "session.intra_op_num_threads",
                                "session.graph_optimization_level"}) {
    const std::string message = refusal(with_entry(key, "1"));
    if (!EXPECT_TRUE(contains(message, key))) std::fprintf(stderr, "%s: %s\n", key, message.c_str());
  }
}

TEST(Providers, TheCpuProviderIsInForceByDefault) {
  EXPECT_TRUE(open("scalar")->providers() == std::vector<std::string>{"CPUExecutionProvider"});
}

TEST(Providers, AnUnknownOneIsRefusedWithWhatThereIs) {
  const std::string message = refusal(with_providers({{"NoSuchProvider", {}}}));
  EXPECT_TRUE(contains(message, "NoSuchProvider"));
  EXPECT_TRUE(contains(message, "CPUExecutionProvider"));
}

TEST(Providers, AMissingCudaNamesThePackageThatBringsIt) {
  if (has_cuda()) return;  // this library has it: nothing is missing
  const std::string message = refusal(with_providers({{"CUDAExecutionProvider", {}}}));
  EXPECT_TRUE(contains(message, "CUDAExecutionProvider"));
  EXPECT_TRUE(contains(message, "anya-engine[gpu]"));
}

TEST(Providers, AMissingOneFallsBackToTheNextAndTheListSaysSo) {
  const auto session = open("scalar", with_providers({{"NoSuchProvider", {}}, {"CPUExecutionProvider", {}}}));
  EXPECT_TRUE(session->providers() == std::vector<std::string>{"CPUExecutionProvider"});
}

TEST(Providers, TheLastOneMissingIsNoFallback) {
  EXPECT_TRUE(contains(refusal(with_providers({{"NoSuchProvider", {}}, {"NorThis", {}}})), "NorThis"));
}

TEST(Providers, AListThatCannotBeMeantIsRefused) {
  EXPECT_TRUE(contains(refusal(with_providers({{"CPUExecutionProvider", {}}, {"CPUExecutionProvider", {}}})), "twice"));
  EXPECT_TRUE(contains(refusal(with_providers({{"CPUExecutionProvider", {}}, {"CUDAExecutionProvider", {}}})), "last"));
  EXPECT_TRUE(contains(refusal(with_providers({{"CPUExecutionProvider", {{"a", "b"}}}})), "options"));
}

TEST(Providers, AnotherBuiltInOneIsAppendedByItsName) {
  const auto names = runtime()->available_providers();
  const std::string azure = "AzureExecutionProvider";  // the one beside the CPU's in the common wheel
  if (std::find(names.begin(), names.end(), azure) == names.end()) return;
  const auto session = open("scalar", with_providers({{azure, {}}, {"CPUExecutionProvider", {}}}));
  EXPECT_TRUE(session->providers() == (std::vector<std::string>{azure, "CPUExecutionProvider"}));
}

namespace {

// Stands in for a provider that loads and then finds no device: the first session with it cannot be created.
int g_failures_left = 0;
int g_sessions_tried = 0;
decltype(Api::create_session_from_array) g_create = nullptr;
int g_forced_code = 0;

RawStatus* no_device(const RawEnv* env, const void* model, std::size_t bytes, const RawSessionOptions* options,
                     RawSession** out) {
  ++g_sessions_tried;
  if (g_failures_left == 0) return g_create(env, model, bytes, options, out);
  --g_failures_left;
  return g_create(env, model, 0, options, out);  // an error of the real library
}
int forced_code(const RawStatus*) { return g_forced_code; }

std::shared_ptr<RuntimeImpl> without_device(int failures, int code) {
  Library library = open_library(library_path());
  g_create = std::exchange(library.api.create_session_from_array, &no_device);
  library.api.get_error_code = &forced_code;
  g_failures_left = failures;
  g_forced_code = code;
  g_sessions_tried = 0;
  return std::make_shared<RuntimeImpl>(library, LogSink{});
}

}  // namespace

namespace {

std::vector<std::pair<std::string, std::string>> g_entries;
decltype(Api::add_session_config_entry) g_add_entry = nullptr;

RawStatus* recorded(RawSessionOptions* options, const char* key, const char* value) {
  g_entries.emplace_back(key, value);
  return g_add_entry(options, key, value);
}

}  // namespace

// Left to guess, ONNX Runtime also takes its own format, which nobody has walked before it is parsed.
TEST(SessionOptions, TheFormatAndTheFolderAreSetAfterEverythingElse) {
  Library library = open_library(library_path());
  g_add_entry = std::exchange(library.api.add_session_config_entry, &recorded);
  g_entries.clear();
  const SessionOptions options = with_entry("session.set_denormal_as_zero", "1");
  std::make_shared<RuntimeImpl>(library, LogSink{})->open_session(model_bytes("scalar"), {}, options);
  ASSERT_TRUE(g_entries.size() > 2);
  EXPECT_TRUE(g_entries.end()[-2].first == "session.model_external_initializers_file_folder_path");
  EXPECT_TRUE(g_entries.end()[-1] == (std::pair<std::string, std::string>("session.load_model_format", "ONNX")));
}

TEST(Providers, OneThatFindsNoDeviceFallsBackWhenTheSessionIsMade) {
  const SessionOptions options = with_providers({{"AzureExecutionProvider", {}}, {"CPUExecutionProvider", {}}});
  const auto session = without_device(1, kCodeEpFail)->open_session(model_bytes("scalar"), {}, options);
  EXPECT_EQ(2, g_sessions_tried);
  EXPECT_TRUE(session->providers() == std::vector<std::string>{"CPUExecutionProvider"});
  // Without another one behind it, it is an error; so is a model that nobody can parse, at the first try.
  const SessionOptions alone = with_providers({{"AzureExecutionProvider", {}}});
  EXPECT_ERROR(ErrorCode::kModelInvalid,
               without_device(1, kCodeEpFail)->open_session(model_bytes("scalar"), {}, alone));
  EXPECT_ERROR(ErrorCode::kModelInvalid, without_device(1, 7)->open_session(model_bytes("scalar"), {}, options));
  EXPECT_EQ(1, g_sessions_tried);
}

}  // namespace anya::ort::test
