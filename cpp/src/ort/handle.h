// SPDX-License-Identifier: Apache-2.0
//
// ONNX Runtime's objects, owned. Not thread-safe, like any unique_ptr; the Api must outlive the handle.
#pragma once

#include <memory>

#include "ort/api.h"

namespace anya::ort {

template <typename Raw, void (*Api::*Release)(Raw*)>
struct Releaser {
  const Api* api = nullptr;
  void operator()(Raw* raw) const noexcept { (api->*Release)(raw); }
};

template <typename Raw, void (*Api::*Release)(Raw*)>
using Handle = std::unique_ptr<Raw, Releaser<Raw, Release>>;

using StatusHandle = Handle<RawStatus, &Api::release_status>;
using EnvHandle = Handle<RawEnv, &Api::release_env>;
using SessionHandle = Handle<RawSession, &Api::release_session>;
using SessionOptionsHandle = Handle<RawSessionOptions, &Api::release_session_options>;
using RunOptionsHandle = Handle<RawRunOptions, &Api::release_run_options>;
using ValueHandle = Handle<RawValue, &Api::release_value>;
using MemoryInfoHandle = Handle<RawMemoryInfo, &Api::release_memory_info>;
using TypeInfoHandle = Handle<RawTypeInfo, &Api::release_type_info>;
using CudaOptionsHandle = Handle<RawCudaOptions, &Api::release_cuda_options>;

}  // namespace anya::ort
