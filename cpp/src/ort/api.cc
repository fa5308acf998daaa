// SPDX-License-Identifier: Apache-2.0
#include "ort/api.h"

#include <charconv>
#include <cstring>
#include <type_traits>

#include <dlfcn.h>

#include "anya/status.h"

namespace anya::ort {
namespace {

// What the one exported function of the library answers.
struct ApiBase {
  const void* (*get_api)(std::uint32_t version);
  const char* (*version_string)();
};

static_assert(sizeof(void (*)()) == sizeof(void*), "the table holds function pointers of one size");
static_assert(std::is_trivially_copyable_v<Api> && std::is_standard_layout_v<Api>);

template <typename Function>
void read_slot(const void* table, std::size_t slot, Function* out) {
  std::memcpy(static_cast<void*>(out), static_cast<const char*>(table) + slot * sizeof(void*), sizeof(void*));
}

Api read_table(const void* table) {
  Api api;
#define ANYA_ORT_READ(slot, name, result, parameters) read_slot(table, slot, &api.name);
  ANYA_ORT_SLOTS(ANYA_ORT_READ)
#undef ANYA_ORT_READ
  return api;
}

// "1.17.3" -> 17; 0 where the text is no version of ONNX Runtime 1; a later major counts as new enough.
std::uint32_t minor_version(const std::string& version) {
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  const char* end = version.data() + version.size();
  const auto [dot, error] = std::from_chars(version.data(), end, major);
  if (error != std::errc() || dot == end || *dot != '.') return 0;
  if (major > 1) return UINT32_MAX;
  std::from_chars(dot + 1, end, minor);
  return minor;
}

[[noreturn]] void refuse_version(const std::string& path, const std::string& version) {
  throw Error(ErrorCode::kConfigError, "ONNX Runtime " + version + " (" + path + ") is too old: 1." +
                                           std::to_string(kApiVersion) +
                                           " or newer is needed. Run: pip install --upgrade 'onnxruntime>=1." +
                                           std::to_string(kApiVersion) + "' (or onnxruntime-gpu)");
}

}  // namespace

Library open_library(const std::string& path) {
  if (path.empty() || path.front() != '/') {
    throw Error(ErrorCode::kConfigError, "the path of libonnxruntime must be absolute, not '" + path + "'");
  }
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = dlerror();  // NOLINT(concurrency-mt-unsafe): each thread has its own
    throw Error(ErrorCode::kConfigError,
                "cannot open the ONNX Runtime library: " + std::string(why != nullptr ? why : path.c_str()) +
                    ". Run: pip install onnxruntime (or onnxruntime-gpu)");
  }
  using GetBase = const ApiBase* (*)();
  const auto get_base = reinterpret_cast<GetBase>(dlsym(handle, "OrtGetApiBase"));
  const ApiBase* base = get_base != nullptr ? get_base() : nullptr;
  if (base == nullptr) {
    throw Error(ErrorCode::kConfigError, path + " is not an ONNX Runtime library (it has no OrtGetApiBase)");
  }
  // The version first: asked for a table it does not have, the library writes to the host's stderr.
  std::string version = base->version_string();
  if (minor_version(version) < kApiVersion) refuse_version(path, version);
  const void* table = base->get_api(kApiVersion);
  if (table == nullptr) refuse_version(path, version);
  return Library{path, std::move(version), read_table(table)};
}

}  // namespace anya::ort
