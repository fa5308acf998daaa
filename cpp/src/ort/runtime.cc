// SPDX-License-Identifier: Apache-2.0
#include "ort/runtime.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include <unistd.h>

#include "anya/status.h"
#include "ort/error.h"
#include "ort/session.h"
#include "ort/session_options.h"

namespace anya::ort {
namespace {

constexpr int kWarning = 2;
constexpr int kFatal = 4;
constexpr int kDeviceAllocator = 0;
constexpr int kDefaultMemory = 0;

// Set in the environment, it makes ONNX Runtime take session options from the model's own metadata. It is read at
// every load, so it is looked at before every load.
void refuse_options_from_models() {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): ONNX Runtime reads it right after, as unsafely
  if (std::getenv("ORT_LOAD_CONFIG_FROM_MODEL") == nullptr) return;
  throw Error(ErrorCode::kConfigError,
              "ORT_LOAD_CONFIG_FROM_MODEL is set in the environment: a model could set its own session options. "
              "Remove the variable (unset ORT_LOAD_CONFIG_FROM_MODEL)");
}

// Never throws into ONNX Runtime: a log line that cannot be delivered is dropped.
void forward_log(void* self, int, const char*, const char*, const char*, const char* message) noexcept {
  try {
    (*static_cast<const LogSink*>(self))(clean_text(message != nullptr ? message : ""));
  } catch (...) {
  }
}

// ONNX Runtime has a thread of its own (telemetry, since 1.32), and its exit handlers wait for it: in a forked child,
// where that thread does not exist, for ever. Exit handlers run last first, so this one comes before the library's.
void leave_child_at_exit(int status, void* opener) noexcept {
  if (static_cast<std::intptr_t>(getpid()) == reinterpret_cast<std::intptr_t>(opener)) return;
  std::fflush(nullptr);
  _exit(status);
}

void watch_exit() {
  // Once per process and its children: who opens the library again in a child still has the parent's thread missing.
  // NOLINTNEXTLINE(performance-no-int-to-ptr): a number in the pointer that on_exit hands on
  void* const opener = reinterpret_cast<void*>(static_cast<std::intptr_t>(getpid()));
  [[maybe_unused]] static const int watched = on_exit(&leave_child_at_exit, opener);
}

// The files of external weights in ONNX Runtime's three arrays. Borrows from the NamedBytes.
void add_external(const Api& api, RawSessionOptions* options, std::span<const NamedBytes> external) {
  if (external.empty()) return;
  std::vector<const char*> names;
  std::vector<char*> buffers;
  std::vector<std::size_t> sizes;
  for (const NamedBytes& file : external) {
    names.push_back(file.name.c_str());
    // The signature lacks a const; ONNX Runtime copies from the buffer.
    buffers.push_back(const_cast<char*>(reinterpret_cast<const char*>(file.bytes.data())));
    sizes.push_back(file.bytes.size());
  }
  check(api, api.add_external_files_in_memory(options, names.data(), buffers.data(), sizes.data(), external.size()),
        ErrorCode::kModelInvalid, "external data");
}

// Failures in which a provider may have had a hand, as against a model that nobody can parse.
bool may_be_the_provider(int code) noexcept {
  return code == kCodeFail || code == kCodeRuntimeException || code == kCodeEpFail;
}

}  // namespace

std::shared_ptr<Runtime> Runtime::open(const std::string& library, LogSink log) {
  refuse_options_from_models();
  return std::make_shared<RuntimeImpl>(open_library(library), std::move(log));
}

RuntimeImpl::RuntimeImpl(Library library, LogSink log) : library_(std::move(library)), log_(std::move(log)) {
  // The environment is one per process whoever opens it first, so it must not know any Runtime's sink: it stays
  // silent, and each session gets a logger of its own where a sink is given.
  RawEnv* env = nullptr;
  check(api(), api().create_env(kFatal, "anya", &env), ErrorCode::kConfigError, "ONNX Runtime's environment");
  env_ = EnvHandle(env, {&api()});
  // Some wheels report to their maker; what runs here is nobody else's business.
  check(api(), api().disable_telemetry_events(env), ErrorCode::kConfigError, "ONNX Runtime's telemetry switch");
  watch_exit();
  RawMemoryInfo* memory = nullptr;
  check(api(), api().create_cpu_memory_info(kDeviceAllocator, kDefaultMemory, &memory), ErrorCode::kConfigError,
        "ONNX Runtime's CPU memory");
  cpu_memory_ = MemoryInfoHandle(memory, {&api()});
  check(api(), api().get_allocator_with_default_options(&allocator_), ErrorCode::kConfigError,
        "ONNX Runtime's allocator");
}

RuntimeImpl::~RuntimeImpl() {
  if (!is_owner()) static_cast<void>(env_.release());
}

std::vector<std::string> RuntimeImpl::available_providers() const { return built_in_providers(api()); }

SessionHandle RuntimeImpl::create_session(std::span<const std::byte> model, std::span<const NamedBytes> external,
                                          const SessionOptions& options, std::vector<std::string>* providers) {
  std::span<const ProviderOptions> left = options.providers;
  while (true) {
    PreparedOptions prepared = prepare_options(library_, options, left);
    add_external(api(), prepared.raw.get(), external);
    if (log_) {
      check(api(), api().set_session_log_severity_level(prepared.raw.get(), kWarning), ErrorCode::kConfigError, "log");
      void* const self = const_cast<LogSink*>(&log_);  // lives as long as the session, which keeps this Runtime
      check(api(), api().set_user_logging_function(prepared.raw.get(), &forward_log, self), ErrorCode::kConfigError,
            "log");
    }
    RawSession* raw = nullptr;
    RawStatus* status =
        api().create_session_from_array(env_.get(), model.data(), model.size(), prepared.raw.get(), &raw);
    if (status == nullptr) {
      *providers = std::move(prepared.appended);
      providers->emplace_back("CPUExecutionProvider");
      return SessionHandle(raw, {&api()});
    }
    // Some providers load well and then find no device. Where another is named behind, that is a declared fallback.
    if (prepared.appended.empty() || prepared.through_first == left.size() ||
        !may_be_the_provider(api().get_error_code(status))) {
      check(api(), status, ErrorCode::kModelInvalid, "ONNX Runtime cannot load the model");
    }
    ignore(api(), status);
    left = left.subspan(prepared.through_first);
  }
}

std::unique_ptr<Session> RuntimeImpl::open_session(std::span<const std::byte> model,
                                                   std::span<const NamedBytes> external,
                                                   const SessionOptions& options) {
  if (!is_owner()) {
    throw Error(ErrorCode::kUnavailable, "ONNX Runtime was opened before a fork: open it again in the child");
  }
  refuse_options_from_models();
  validate(options);
  if (model.empty()) throw Error(ErrorCode::kModelInvalid, "the model is empty: 0 bytes");
  std::vector<std::string> providers;
  SessionHandle session = create_session(model, external, options, &providers);
  return std::make_unique<SessionImpl>(shared_from_this(), std::move(session), std::move(providers));
}

}  // namespace anya::ort
