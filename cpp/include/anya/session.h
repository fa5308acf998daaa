// SPDX-License-Identifier: Apache-2.0
//
// The one interface a model runs through. ONNX Runtime implements it (src/ort), tests implement it with a fake.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "anya/status.h"
#include "anya/tensor.h"

namespace anya {

// Where one output of a run goes.
//   data != null: the caller's memory of exactly `bytes`, for exactly `shape`; the run writes there.
//                 An answer of another shape is given as if data were null: `owner` tells.
//   data == null: the session makes the memory; after a good run `data`, `bytes` and `shape` describe it and `owner`
//                 keeps it alive. String outputs are always made by the session (data: std::string_view elements).
struct OutputBuffer {
  DType dtype = DType::kUndefined;
  Shape shape;
  void* data = nullptr;
  std::size_t bytes = 0;
  std::shared_ptr<void> owner;
};

// A switch that another thread may throw to stop a run between two of its operators. Thread-safe.
class RunControl {
 public:
  virtual ~RunControl() = default;
  virtual void terminate() noexcept = 0;
  virtual void reset() noexcept = 0;
};

// A loaded model, ready to run. run() may be called from several threads at once, with a RunControl each.
class Session {
 public:
  virtual ~Session() = default;
  [[nodiscard]] virtual const ModelSchema& schema() const noexcept = 0;
  // The providers in force, in order, by ONNX Runtime's names; a declared fallback shows here.
  [[nodiscard]] virtual const std::vector<std::string>& providers() const noexcept = 0;
  [[nodiscard]] virtual std::unique_ptr<RunControl> make_run_control() = 0;

  // One inference. `inputs` in schema order, every one given; outputs[i] is the schema's output `output_indices[i]`.
  // Blocks until done. Never throws: failures are kExecutionError, kOutOfMemory or kInvalidInput with ONNX Runtime's
  // text. REQUIRES: `control` came from this session and no other run uses it now; inputs and outputs live until it
  // returns.
  virtual Status run(RunControl& control, std::span<const TensorView> inputs,
                     std::span<const std::uint32_t> output_indices, std::span<OutputBuffer> outputs) noexcept = 0;
};

// A file of external weights, by the name the model uses for it. Borrowed for the call only.
struct NamedBytes {
  std::string name;
  std::span<const std::byte> bytes;
};

}  // namespace anya
