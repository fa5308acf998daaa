// SPDX-License-Identifier: Apache-2.0
#include "ort/api.h"

#include <atomic>
#include <string_view>

#include "anya/status.h"
#include "ort/error.h"
#include "ort/runtime.h"
#include "ort_fixture.h"
#include "support/check.h"

namespace anya::ort::test {
namespace {

// A slot that counts its calls on their way to the real library.
template <int Slot, typename Function>
struct Counted;
template <int Slot, typename Result, typename... Parameters>
struct Counted<Slot, Result (*)(Parameters...)> {
  static inline Result (*real)(Parameters...) = nullptr;
  static inline std::atomic<int> calls{0};
  static Result call(Parameters... parameters) {
    calls.fetch_add(1);
    return real(parameters...);
  }
};

void count_calls(Api* api) {
#define ANYA_COUNT(slot, name, result, parameters)      \
  Counted<slot, decltype(api->name)>::real = api->name; \
  api->name = &Counted<slot, decltype(api->name)>::call;
  ANYA_ORT_SLOTS(ANYA_COUNT)
#undef ANYA_COUNT
}

// The CUDA slots answer in every build: with the work where the provider is built in, else with an error.
void call_cuda(const Api& api) {
  RawSessionOptions* raw = nullptr;
  check(api, api.create_session_options(&raw), ErrorCode::kConfigError, "options");
  const SessionOptionsHandle options(raw, {&api});
  RawCudaOptions* cuda = nullptr;
  RawStatus* status = api.create_cuda_options(&cuda);
  const bool built_in = status == nullptr;
  ignore(api, status);
  const char* const key = "device_id";
  const char* const value = "0";
  status = api.update_cuda_options(cuda, &key, &value, 1);
  EXPECT_EQ(status == nullptr, built_in);
  ignore(api, status);
  // A build without the provider looks into the options before it says so: zeros are enough for that.
  alignas(std::max_align_t) std::array<std::byte, 4096> blank{};
  status = api.append_cuda_provider(raw, built_in ? cuda : reinterpret_cast<const RawCudaOptions*>(blank.data()));
  if (!built_in) EXPECT_TRUE(status != nullptr);
  ignore(api, status);
  api.release_cuda_options(cuda);
}

// A library that is not there: ONNX Runtime says so.
void call_operators(const Api& api) {
  RawSessionOptions* raw = nullptr;
  check(api, api.create_session_options(&raw), ErrorCode::kConfigError, "options");
  const SessionOptionsHandle options(raw, {&api});
  RawStatus* const status = api.register_custom_ops_library(raw, "/dev/null/no-library.so");
  EXPECT_TRUE(status != nullptr);
  ignore(api, status);
}

void run_once(Runtime& runtime, const std::string& model, const std::vector<TensorView>& inputs,
              const std::vector<std::uint32_t>& indices, std::vector<OutputBuffer> outputs) {
  SessionOptions options;
  options.inter_op_num_threads = 2;
  options.enable_mem_pattern = false;
  options.enable_cpu_mem_arena = false;
  const auto session = runtime.open_session(model_bytes(model), {}, options);
  const auto control = session->make_run_control();
  control->terminate();
  EXPECT_FALSE(session->run(*control, inputs, indices, outputs).ok());
  control->reset();
  const Status status = session->run(*control, inputs, indices, outputs);
  if (!EXPECT_TRUE(status.ok())) std::fprintf(stderr, "%s\n", text(status).c_str());
}

}  // namespace

// Every slot we declare is called against the real library, by the code that uses it.
TEST(Api, EverySlotIsExercised) {
  Library library = open_library(library_path());
  count_calls(&library.api);
  {
    const auto runtime = std::make_shared<RuntimeImpl>(library, [](std::string_view) {});
    EXPECT_FALSE(runtime->available_providers().empty());
    const std::vector<float> x = {1, 2};
    std::vector<float> y(2);
    run_once(*runtime, "passthrough", {floats({2}, x)}, {2, 0}, {floats_into({2}, &y), {}});
    const std::vector<std::string_view> words = {"a", "b"};
    const std::vector<std::int64_t> order = {1, 0};
    run_once(*runtime, "strings", {view(DType::kString, {2}, words), ints({2}, order)}, {0, 1}, {{}, {}});
    const std::vector<float> weights = {1, 2};
    const NamedBytes file{"weights.bin", std::as_bytes(std::span(weights))};
    EXPECT_FALSE(runtime->open_session(model_bytes("external_top"), {&file, 1}, {}) == nullptr);
    call_cuda(runtime->api());
    call_operators(runtime->api());
    RawSessionOptions* options = nullptr;
    check(runtime->api(), runtime->api().create_session_options(&options), ErrorCode::kConfigError, "options");
    const SessionOptionsHandle owned(options, {&runtime->api()});
    // A name that no build knows: the answer is an error, and one of its own.
    RawStatus* status = runtime->api().append_provider(options, "NoSuchProvider", nullptr, nullptr, 0);
    ASSERT_TRUE(status != nullptr);
    EXPECT_NE(0, runtime->api().get_error_code(status));
    ignore(runtime->api(), status);
  }
#define ANYA_CHECK(slot, name, result, parameters)                                                                    \
  if (Counted<slot, decltype(library.api.name)>::calls.load() == 0) {                                                 \
    ::anya::test::fail(__FILE__, __LINE__, std::string("never called: slot ") + std::to_string(slot) + ", " + #name); \
  }
  ANYA_ORT_SLOTS(ANYA_CHECK)
#undef ANYA_CHECK
}

// The slots are in the table's own order: a number typed wrongly would most often break it.
TEST(Api, SlotsAreDeclaredInOrder) {
  int last = -1;
#define ANYA_ORDER(slot, name, result, parameters) \
  EXPECT_LT(last, slot);                           \
  last = slot;
  ANYA_ORT_SLOTS(ANYA_ORDER)
#undef ANYA_ORDER
}

TEST(Api, ALibraryTooOldIsRefusedWithBothVersionsAndTheCommand) {
  const std::string path = from_environment("ANYA_TEST_LIBRARIES") + "/old_runtime_fake_library.so";
  EXPECT_ERROR(ErrorCode::kConfigError, open_library(path));
  try {
    open_library(path);
  } catch (const Error& error) {
    EXPECT_TRUE(contains(error.what(), "1.17.3"));
    EXPECT_TRUE(contains(error.what(), "1.28"));
    EXPECT_TRUE(contains(error.what(), "pip install"));
  }
}

TEST(Api, WhatIsNoOnnxRuntimeIsRefused) {
  EXPECT_ERROR(ErrorCode::kConfigError, open_library(""));
  EXPECT_ERROR(ErrorCode::kConfigError, open_library("libonnxruntime.so"));
  EXPECT_ERROR(ErrorCode::kConfigError, open_library("/nowhere/libonnxruntime.so"));
  EXPECT_ERROR(ErrorCode::kConfigError, open_library("/proc/self/maps"));
  // A library, but another one: this process has libc mapped under some path.
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    if (line.find("libc.so") == std::string::npos) continue;
    EXPECT_ERROR(ErrorCode::kConfigError, open_library(line.substr(line.find('/'))));
    return;
  }
  ASSERT_TRUE(false);
}

}  // namespace anya::ort::test
