// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/fork_guard.h"
#include "ort/api.h"
#include "ort/handle.h"
#include "ort/ort_session.h"

namespace anya::ort {

// The Runtime behind the door: library, environment, what all sessions share. Thread-safe. Sessions and the outputs
// that ONNX Runtime made keep it alive. Several may exist: ONNX Runtime keeps one environment underneath and counts.
class RuntimeImpl final : public Runtime, public std::enable_shared_from_this<RuntimeImpl> {
 public:
  RuntimeImpl(Library library, LogSink log);
  ~RuntimeImpl() override;

  [[nodiscard]] const std::string& version() const noexcept override { return library_.version; }
  [[nodiscard]] const std::string& library() const noexcept override { return library_.path; }
  [[nodiscard]] std::vector<std::string> available_providers() const override;
  std::unique_ptr<Session> open_session(std::span<const std::byte> model, std::span<const NamedBytes> external,
                                        const SessionOptions& options) override;

  [[nodiscard]] const Api& api() const noexcept { return library_.api; }
  [[nodiscard]] const RawMemoryInfo* cpu_memory() const noexcept { return cpu_memory_.get(); }
  // ONNX Runtime's own allocator for names and strings; it owns it.
  [[nodiscard]] RawAllocator* allocator() const noexcept { return allocator_; }
  // False in a forked child, where ONNX Runtime's threads do not exist: its objects are then left alone, not released.
  [[nodiscard]] bool is_owner() const noexcept { return fork_guard_.is_owner(); }

 private:
  SessionHandle create_session(std::span<const std::byte> model, std::span<const NamedBytes> external,
                               const SessionOptions& options, std::vector<std::string>* providers);

  const Library library_;
  const LogSink log_;
  const ForkGuard fork_guard_;
  EnvHandle env_;
  MemoryInfoHandle cpu_memory_;
  RawAllocator* allocator_ = nullptr;
};

}  // namespace anya::ort
