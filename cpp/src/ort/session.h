// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
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
  std::vector<bool> is_written_;  // per output of the run: into the memory that was given for it
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
                         std::span<const OutputBuffer> outputs, bool into_given) const;
  Status take_outputs(RunControlImpl& control, std::span<const std::uint32_t> indices, std::span<OutputBuffer> outputs);

  const std::shared_ptr<const RuntimeImpl> runtime_;
  SessionHandle session_;
  const std::vector<std::string> providers_;
  ModelSchema schema_;
  std::vector<const char*> input_names_;  // of schema_'s strings
  // Outputs whose memory ONNX Runtime makes, and which we copy into what we were given. Those that are an input
  // themselves: it hands the input's value back and leaves the memory for them as it was, without an error. And from
  // the first time on, those that came out in another shape than they were given memory for. Only ever set: relaxed.
  std::vector<std::atomic<bool>> is_copied_;
};

}  // namespace anya::ort
