// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anya/clock.h"
#include "anya/model.h"
#include "anya/options.h"
#include "anya/session.h"
#include "anya/stats.h"

namespace anya {

// Where a model comes from: a path (an .onnx file or a directory), or bytes borrowed for the call.
struct ModelSource {
  std::string path;
  std::span<const std::byte> bytes;
  std::string name = {};  // what it is to be called: a registry may know it by that; filled by Engine::load
};

using OpenSession = std::function<std::unique_ptr<Session>(std::span<const std::byte>, std::span<const NamedBytes>,
                                                           const SessionOptions&)>;

// What the engine stands on, given once at construction. Tests give fakes.
struct EngineDependencies {
  std::shared_ptr<const Clock> clock;
  OpenSession open_session;
  std::string runtime_version;
  std::string runtime_library;
};
// The real ones: the steady clock and the ONNX Runtime library at `runtime_library`. Throws Error(kConfigError).
EngineDependencies make_dependencies(const std::string& runtime_library);

// The composition root: loads models, drains them, counts. Which version answers is decided above it.
// Thread-safe. Engines are independent of each other. In a forked child every call is refused and destruction leaks.
class Engine {
 public:
  explicit Engine(EngineDependencies dependencies);  // throws on a null dependency or when no thread can be had
  ~Engine();                                         // closes
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // Reads, checks, opens and warms a version up. Blocks for all of it. Throws Error; then nothing has changed.
  std::shared_ptr<Model> load(const std::string& name, const std::string& version, const ModelSource& source,
                              const ModelOptions& options);
  // Drains the version and lets go of it. Blocks. The memory goes when the last holder lets go.
  void unload(const std::shared_ptr<Model>& model);
  // Drains everything, refuses what comes after. Idempotent. Blocks.
  void close() noexcept;
  // Likewise, but waits until then at most (on the engine's clock). True: all has ended, and close() will not wait for
  // it. For who must look up from waiting now and then.
  [[nodiscard]] bool drain(Nanos until) noexcept;

  // Of every loaded version, in the order of loading.
  [[nodiscard]] std::vector<ModelStats> stats() const;
  [[nodiscard]] bool is_owner_process() const noexcept;
  [[nodiscard]] const EngineDependencies& dependencies() const noexcept;
  // A 64-bit hash of a routing key, the same in every process for the same salt.
  [[nodiscard]] static std::uint64_t key_hash(std::string_view key, std::uint64_t salt) noexcept;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace anya
