// SPDX-License-Identifier: Apache-2.0
//
// The door of this folder: an ONNX Runtime library, and models opened in it.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anya/options.h"
#include "anya/session.h"

namespace anya::ort {

// Takes ONNX Runtime's log lines of warning and above, one bounded line each. Called from any thread that loads or runs
// a model, also concurrently, while that load or run waits; what it throws is dropped.
using LogSink = std::function<void(std::string_view line)>;

// An opened libonnxruntime with its environment. Thread-safe. Sessions keep it alive.
class Runtime {
 public:
  // `library`: absolute path of libonnxruntime.so. Throws kConfigError when it cannot be opened, is older than the
  // floor, or when ORT_LOAD_CONFIG_FROM_MODEL is set (a model could then set session options).
  // `log`: where warnings go; by default nowhere.
  static std::shared_ptr<Runtime> open(const std::string& library, LogSink log = {});
  virtual ~Runtime() = default;
  [[nodiscard]] virtual const std::string& version() const noexcept = 0;  // "1.32.0"
  [[nodiscard]] virtual const std::string& library() const noexcept = 0;
  [[nodiscard]] virtual std::vector<std::string> available_providers() const = 0;

  // Opens a session from memory; ONNX Runtime is never given a path. External weights come from `external` only.
  // The bytes may be freed after the call. Throws kModelInvalid, kConfigError (provider, option), kOutOfMemory,
  // kUnavailable (in a forked child).
  virtual std::unique_ptr<Session> open_session(std::span<const std::byte> model, std::span<const NamedBytes> external,
                                                const SessionOptions& options) = 0;
};

}  // namespace anya::ort
