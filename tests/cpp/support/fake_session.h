// SPDX-License-Identifier: Apache-2.0
//
// A Session whose model is a lambda, for tests that need to decide what a run does.
#pragma once

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "anya/session.h"

namespace anya::test {

class FakeRunControl final : public RunControl {
 public:
  void terminate() noexcept override { terminated_.store(true); }
  void reset() noexcept override { terminated_.store(false); }
  [[nodiscard]] bool terminated() const noexcept { return terminated_.load(); }

 private:
  std::atomic<bool> terminated_{false};
};

// Thread-safe if its function is. An exception that leaves the function becomes kExecutionError with its text.
class FakeSession final : public Session {
 public:
  using Function =
      std::function<Status(std::span<const TensorView>, std::span<const std::uint32_t>, std::span<OutputBuffer>)>;

  FakeSession(ModelSchema schema, Function function) : schema_(std::move(schema)), function_(std::move(function)) {}

  [[nodiscard]] const ModelSchema& schema() const noexcept override { return schema_; }
  [[nodiscard]] const std::vector<std::string>& providers() const noexcept override { return providers_; }
  [[nodiscard]] std::unique_ptr<RunControl> make_run_control() override { return std::make_unique<FakeRunControl>(); }
  [[nodiscard]] int runs() const noexcept { return runs_.load(); }
  // Runs that begin while this is set last until they are told to stop, and fail then.
  std::atomic<bool> endless{false};

  Status run(RunControl& control, std::span<const TensorView> inputs, std::span<const std::uint32_t> output_indices,
             std::span<OutputBuffer> outputs) noexcept override {
    runs_.fetch_add(1);
    if (endless.load()) {
      while (!static_cast<FakeRunControl&>(control).terminated()) std::this_thread::yield();
      return Status::with_text(ErrorCode::kExecutionError, "told to stop");
    }
    try {
      return function_(inputs, output_indices, outputs);
    } catch (const std::exception& error) {
      return Status::with_text(ErrorCode::kExecutionError, error.what());
    }
  }

 private:
  const ModelSchema schema_;
  const Function function_;
  const std::vector<std::string> providers_{"CPUExecutionProvider"};
  std::atomic<int> runs_{0};
};

// What a fake model writes its answer with: fills memory that was given, which must be of this very shape, or makes it.
inline Status give_output(OutputBuffer& output, DType dtype, const Shape& shape, const void* data) {
  std::uint64_t elements = 0;
  if (!shape.element_count(&elements)) return Status::with_text(ErrorCode::kExecutionError, "bad output shape");
  const std::size_t bytes = static_cast<std::size_t>(elements) * element_size(dtype);
  if (output.data == nullptr) {
    output.owner = std::shared_ptr<void>(std::malloc(bytes + 1), std::free);
    output.data = output.owner.get();
    output.bytes = bytes;
  } else if (!(output.shape == shape) || output.bytes != bytes) {
    return Status::with_text(ErrorCode::kExecutionError,
                             "output is " + shape.to_string() + ", the memory is for " + output.shape.to_string());
  }
  if (bytes != 0) std::memcpy(output.data, data, bytes);
  output.dtype = dtype;
  output.shape = shape;
  return {};
}

inline TensorSpec spec(std::string name, DType dtype, Shape shape, std::vector<std::string> symbols = {}) {
  symbols.resize(shape.rank());
  return TensorSpec{std::move(name), dtype, shape, std::move(symbols)};
}

}  // namespace anya::test
