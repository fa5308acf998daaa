// SPDX-License-Identifier: Apache-2.0
#include "ort/session_options.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include <dlfcn.h>

#include "anya/status.h"
#include "ort/error.h"

namespace anya::ort {
namespace {

constexpr std::string_view kCpu = "CPUExecutionProvider";
constexpr std::string_view kCuda = "CUDAExecutionProvider";
constexpr int kParallelExecution = 1;
constexpr int kMaxThreads = 4096;

// External data that is not in the table given to open_session is looked for below this folder. A character device
// has no entries and nobody can make any, so nothing is ever found: the load fails.
constexpr const char* kNowhere = "/dev/null/external-data-comes-from-memory-only";

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::kConfigError, message); }

int graph_level(const std::string& name) {
  constexpr std::array<std::pair<std::string_view, int>, 4> kLevels = {
      {{"disable", 0}, {"basic", 1}, {"extended", 2}, {"all", 99}}};
  for (const auto& [known, level] : kLevels) {
    if (name == known) return level;
  }
  refuse("graph_optimization_level must be 'disable', 'basic', 'extended' or 'all', not '" + name + "'");
}

void validate_threads(const char* field, int threads) {
  if (threads >= 0 && threads <= kMaxThreads) return;
  refuse(std::string(field) + " must be between 0 (ONNX Runtime decides) and " + std::to_string(kMaxThreads) +
         ", not " + std::to_string(threads));
}

// Why a config entry cannot be passed on; empty when it can. By words rather than by a list of keys, so that a key
// which a later ONNX Runtime adds is caught too.
std::string_view objection(std::string_view key) {
  constexpr std::array<std::string_view, 9> kPaths = {"file", "path",    "folder", "directory",   "_dir",
                                                      "root", "context", "profil", "partitioning"};
  constexpr std::array<std::string_view, 4> kBytes = {"load_", "model_bytes", "save_", "buffers_directly"};
  constexpr std::array<std::string_view, 8> kFields = {
      "session.intra_op.allow_spinning",  "session.inter_op.allow_spinning",
      "session.intra_op_num_threads",     "session.inter_op_num_threads",
      "session.graph_optimization_level", "session.enable_mem_pattern",
      "session.enable_cpu_mem_arena",     "session.execution_mode"};
  const auto has = [key](std::string_view word) { return key.find(word) != std::string_view::npos; };
  if (std::ranges::any_of(kFields, [key](std::string_view field) { return key == field; })) {
    return "has a field of its own; set that";
  }
  if (std::ranges::any_of(kBytes, has)) {
    return "would change where the model's bytes come from or how long they must live";
  }
  if (std::ranges::any_of(kPaths, has)) return "would let ONNX Runtime open files";
  return {};
}

// The provider is not to be had here, as against a mistake in its options: reason enough for a declared fallback.
class ProviderMissing : public Error {
 public:
  explicit ProviderMissing(const std::string& message) : Error(ErrorCode::kConfigError, message) {}
};

std::string join(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) out += (out.empty() ? "" : ", ") + name;
  return out;
}

// Which package brings a provider; empty for a name we do not know.
std::string_view package_of(std::string_view provider) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 7> kPackages = {{
      {"CUDAExecutionProvider", "pip install 'anya-engine[gpu]' (onnxruntime-gpu)"},
      {"TensorrtExecutionProvider", "pip install 'anya-engine[gpu]' (onnxruntime-gpu)"},
      {"OpenVINOExecutionProvider", "pip install 'anya-engine[openvino]' (onnxruntime-openvino)"},
      {"MIGraphXExecutionProvider", "pip install onnxruntime-migraphx"},
      {"ROCMExecutionProvider", "pip install onnxruntime-rocm"},
      {"QNNExecutionProvider", "pip install onnxruntime-qnn"},
      {"DmlExecutionProvider", "pip install onnxruntime-directml"},
  }};
  for (const auto& [name, package] : kPackages) {
    if (name == provider) return package;
  }
  return {};
}

// Keys and values as ONNX Runtime takes them. Borrows from the ProviderOptions.
struct KeyValues {
  std::vector<const char*> keys;
  std::vector<const char*> values;

  explicit KeyValues(const ProviderOptions& provider) {
    for (const auto& [key, value] : provider.options) {
      keys.push_back(key.c_str());
      values.push_back(value.c_str());
    }
  }
};

void append_cuda(const Api& api, RawSessionOptions* options, const ProviderOptions& provider) {
  const KeyValues given(provider);
  RawCudaOptions* raw = nullptr;
  check(api, api.create_cuda_options(&raw), ErrorCode::kConfigError, provider.name);
  const CudaOptionsHandle cuda(raw, {&api});
  check(api, api.update_cuda_options(raw, given.keys.data(), given.values.data(), given.keys.size()),
        ErrorCode::kConfigError, provider.name + " options");
  try {
    check(api, api.append_cuda_provider(options, raw), ErrorCode::kConfigError, provider.name);
  } catch (const Error& error) {  // its library or one of NVIDIA's does not load
    throw ProviderMissing(error.what() + std::string(". Run: ") + std::string(package_of(kCuda)));
  }
}

void append(const Library& library, RawSessionOptions* options, const ProviderOptions& provider) {
  const Api& api = library.api;
  const std::vector<std::string> built_in = built_in_providers(api);
  if (std::ranges::find(built_in, provider.name) == built_in.end()) {
    const std::string_view package = package_of(provider.name);
    throw ProviderMissing(provider.name + " is not in this ONNX Runtime (" + library.version + ", " + library.path +
                          "), which has: " + join(built_in) + ". " +
                          (package.empty() ? std::string("No package known to us brings it: check the name")
                                           : "Run: " + std::string(package)));
  }
  if (provider.name == kCuda) return append_cuda(api, options, provider);
  const KeyValues given(provider);
  check(api,
        api.append_provider(options, provider.name.c_str(), given.keys.data(), given.values.data(), given.keys.size()),
        ErrorCode::kConfigError, provider.name);
}

void add_entry(const Api& api, RawSessionOptions* options, const char* key, const char* value) {
  check(api, api.add_session_config_entry(options, key, value), ErrorCode::kConfigError, key);
}

void set_fields(const Api& api, RawSessionOptions* raw, const SessionOptions& options) {
  const auto config = [&api](RawStatus* status, const char* field) {
    check(api, status, ErrorCode::kConfigError, field);
  };
  config(api.set_intra_op_num_threads(raw, options.intra_op_num_threads), "intra_op_num_threads");
  config(api.set_inter_op_num_threads(raw, options.inter_op_num_threads), "inter_op_num_threads");
  // The second pool is used in parallel execution only.
  if (options.inter_op_num_threads != 1) {
    config(api.set_session_execution_mode(raw, kParallelExecution), "inter_op_num_threads");
  }
  config(api.set_session_graph_optimization_level(raw, graph_level(options.graph_optimization_level)),
         "graph_optimization_level");
  if (!options.enable_mem_pattern) config(api.disable_mem_pattern(raw), "enable_mem_pattern");
  if (!options.enable_cpu_mem_arena) config(api.disable_cpu_mem_arena(raw), "enable_cpu_mem_arena");
  const char* const spin = options.allow_spinning ? "1" : "0";
  add_entry(api, raw, "session.intra_op.allow_spinning", spin);
  add_entry(api, raw, "session.inter_op.allow_spinning", spin);
}

void add_operators(const Api& api, RawSessionOptions* options, const OperatorLibraryPath& operators) {
  const std::string what = "the library of operators '" + operators.name + "'";
  // Never unloaded again: ONNX Runtime would with the last session, and not every library survives to be opened anew.
  if (::dlopen(operators.path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) == nullptr) {
    const char* const why = ::dlerror();  // NOLINT(concurrency-mt-unsafe): each thread has its own
    throw Error(ErrorCode::kModelLoadError, what + " cannot be opened: " + (why != nullptr ? why : "no reason given"));
  }
  check(api, api.register_custom_ops_library(options, operators.path.c_str()), ErrorCode::kModelLoadError, what);
}

}  // namespace

std::vector<std::string> built_in_providers(const Api& api) {
  char** raw = nullptr;
  int count = 0;
  check(api, api.get_available_providers(&raw, &count), ErrorCode::kConfigError, "available providers");
  std::vector<std::string> names(raw, raw + count);
  ignore(api, api.release_available_providers(raw, count));
  return names;
}

void validate(const SessionOptions& options) {
  if (options.providers.empty()) refuse("providers must name at least one, such as 'CPUExecutionProvider'");
  std::vector<std::string_view> names;
  for (const ProviderOptions& provider : options.providers) {
    if (std::ranges::find(names, provider.name) != names.end()) {
      refuse("providers name " + provider.name + " twice");
    }
    names.push_back(provider.name);
    if (provider.name == kCpu && !provider.options.empty()) refuse("CPUExecutionProvider takes no options");
  }
  const auto cpu = std::ranges::find(names, kCpu);
  if (cpu != names.end() && cpu + 1 != names.end()) {
    refuse("CPUExecutionProvider runs whatever reaches it, so that " + std::string(cpu[1]) +
           " after it would never be used: name it last");
  }
  validate_threads("intra_op_num_threads", options.intra_op_num_threads);
  validate_threads("inter_op_num_threads", options.inter_op_num_threads);
  graph_level(options.graph_optimization_level);
  for (const auto& [key, value] : options.config_entries) {
    const std::string_view why = objection(key);
    if (!why.empty()) refuse("the session option '" + key + "' is refused: it " + std::string(why));
  }
}

PreparedOptions prepare_options(const Library& library, const SessionOptions& options,
                                std::span<const ProviderOptions> providers) {
  const Api& api = library.api;
  RawSessionOptions* raw = nullptr;
  check(api, api.create_session_options(&raw), ErrorCode::kConfigError, "session options");
  PreparedOptions prepared{SessionOptionsHandle(raw, {&api}), {}, 0};
  set_fields(api, raw, options);
  for (const auto& [key, value] : options.config_entries) add_entry(api, raw, key.c_str(), value.c_str());
  // Ours last: what keeps a model inside the bytes that were verified has the final word.
  add_entry(api, raw, "session.model_external_initializers_file_folder_path", kNowhere);
  add_entry(api, raw, "session.load_model_format", "ONNX");

  for (const OperatorLibraryPath& operators : options.operator_libraries) add_operators(api, raw, operators);

  for (std::size_t i = 0; i < providers.size(); ++i) {
    const ProviderOptions& provider = providers[i];
    if (provider.name == kCpu) break;  // always there; validate() has seen that it is the last
    try {
      append(library, raw, provider);
    } catch (const ProviderMissing&) {
      if (i + 1 == providers.size()) throw;
      continue;  // a declared fallback: another one follows
    }
    prepared.appended.push_back(provider.name);
    if (prepared.through_first == 0) prepared.through_first = i + 1;
  }
  return prepared;
}

}  // namespace anya::ort
