// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "anya/session.h"
#include "ort/handle.h"
#include "ort/runtime.h"
#include "ort/value.h"

namespace anya::ort {

// What one run at a time needs, made once: ONNX Runtime's run options and the arrays its call takes.
// terminate() and reset() are thread-safe; the rest belongs to the one run in progress.
class RunControlImpl final : public RunControl {
 public:
  RunControlImpl(std::shared_ptr<const RuntimeImpl> runtime, std::size_t inputs, std::size_t outputs);

  void terminate() noexcept override;
  void reset() noexcept override;

 private:
  friend class SessionImpl;

  const std::shared_ptr<const RuntimeImpl> runtime_;
  RunOptionsHandle options_;
  std::vector<Place> inputs_;
  std::vector<Place> outputs_;
  std::vector<const RawValue*> input_values_;
  std::vector<RawValue*> output_values_;
  std::vector<const char*> output_names_;
};

// A model opened in ONNX Runtime. Thread-safe, with a RunControl per run in progress. Keeps the Runtime alive.
class SessionImpl final : public Session {
 public:
  // Throws kModelInvalid for a model whose inputs or outputs we do not run.
  SessionImpl(std::shared_ptr<const RuntimeImpl> runtime, SessionHandle session, std::vector<std::string> providers);
  ~SessionImpl() override;

  [[nodiscard]] const ModelSchema& schema() const noexcept override { return schema_; }
  [[nodiscard]] const std::vector<std::string>& providers() const noexcept override { return providers_; }
  [[nodiscard]] std::unique_ptr<RunControl> make_run_control() override;
  Status run(RunControl& control, std::span<const TensorView> inputs, std::span<const std::uint32_t> output_indices,
             std::span<OutputBuffer> outputs) noexcept override;

 private:
  Status prepare_inputs(RunControlImpl& control, std::span<const TensorView> inputs) const;
  Status prepare_outputs(RunControlImpl& control, std::span<const std::uint32_t> indices,
                         std::span<const OutputBuffer> outputs) const;
  Status take_outputs(RunControlImpl& control, std::span<const std::uint32_t> indices,
                      std::span<OutputBuffer> outputs) const;

  const std::shared_ptr<const RuntimeImpl> runtime_;
  SessionHandle session_;
  const std::vector<std::string> providers_;
  ModelSchema schema_;
  std::vector<const char*> input_names_;  // of schema_'s strings
  // Outputs that are an input themselves: ONNX Runtime hands the input's value back and leaves the memory it was given
  // for them as it was, without an error. These we copy.
  std::vector<bool> is_input_;
};

}  // namespace anya::ort
