// SPDX-License-Identifier: Apache-2.0
#include "ort/session.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <utility>

#include "ort/error.h"
#include "ort/schema.h"

namespace anya::ort {
namespace {

// ONNX Runtime wants an address even for a tensor without elements.
constexpr char kNoElements = 0;

Status wrong(const std::string& text) { return Status::with_text(ErrorCode::kInvalidInput, text); }

Status wrong_input(std::size_t index, DType wanted, DType given) noexcept {
  Status status = Status::failure(ErrorCode::kInvalidInput, Reason::kWrongDType, static_cast<std::int64_t>(given),
                                  static_cast<std::int64_t>(wanted));
  status.tensor = static_cast<std::int16_t>(index);
  return status;
}

}  // namespace

RunControlImpl::RunControlImpl(std::shared_ptr<const RuntimeImpl> runtime, std::size_t inputs, std::size_t outputs)
    : runtime_(std::move(runtime)), input_values_(inputs), output_values_(outputs), output_names_(outputs) {
  const Api& api = runtime_->api();
  RawRunOptions* raw = nullptr;
  check(api, api.create_run_options(&raw), ErrorCode::kConfigError, "run options");
  options_ = RunOptionsHandle(raw, {&api});
  inputs_.reserve(inputs);
  outputs_.reserve(outputs);
  for (std::size_t i = 0; i < inputs; ++i) inputs_.emplace_back(&api);
  for (std::size_t i = 0; i < outputs; ++i) outputs_.emplace_back(&api);
}

void RunControlImpl::terminate() noexcept {
  const Api& api = runtime_->api();
  ignore(api, api.run_options_set_terminate(options_.get()));
}

void RunControlImpl::reset() noexcept {
  const Api& api = runtime_->api();
  ignore(api, api.run_options_unset_terminate(options_.get()));
}

SessionImpl::SessionImpl(std::shared_ptr<const RuntimeImpl> runtime, SessionHandle session,
                         std::vector<std::string> providers)
    : runtime_(std::move(runtime)),
      session_(std::move(session)),
      providers_(std::move(providers)),
      schema_(read_schema(runtime_->api(), session_.get(), runtime_->allocator())) {
  for (const TensorSpec& input : schema_.inputs) input_names_.push_back(input.name.c_str());
  for (const TensorSpec& output : schema_.outputs) {
    is_input_.push_back(
        std::ranges::any_of(schema_.inputs, [&](const TensorSpec& input) { return input.name == output.name; }));
  }
}

SessionImpl::~SessionImpl() {
  // In a forked child the session's threads do not exist, and to wait for them would never end.
  if (!runtime_->is_owner()) static_cast<void>(session_.release());
}

std::unique_ptr<RunControl> SessionImpl::make_run_control() {
  return std::make_unique<RunControlImpl>(runtime_, schema_.inputs.size(), schema_.outputs.size());
}

Status SessionImpl::prepare_inputs(RunControlImpl& control, std::span<const TensorView> inputs) const {
  if (inputs.size() != schema_.inputs.size()) {
    return wrong("the model has " + std::to_string(schema_.inputs.size()) + " inputs, not " +
                 std::to_string(inputs.size()));
  }
  Status status;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const TensorView& view = inputs[i];
    if (view.dtype != schema_.inputs[i].dtype) return wrong_input(i, schema_.inputs[i].dtype, view.dtype);
    // ONNX Runtime reads inputs only; its signature lacks the const.
    void* const data = view.data != nullptr ? const_cast<void*>(view.data) : const_cast<char*>(&kNoElements);
    control.input_values_[i] = view.dtype == DType::kString ? control.inputs_[i].copy_strings(*runtime_, view, &status)
                                                            : control.inputs_[i].wrap(*runtime_, view.dtype, view.shape,
                                                                                      data, view.bytes, &status);
    if (!status.ok()) return status;
  }
  return status;
}

Status SessionImpl::prepare_outputs(RunControlImpl& control, std::span<const std::uint32_t> indices,
                                    std::span<const OutputBuffer> outputs) const {
  if (indices.size() != outputs.size() || indices.empty() || indices.size() > schema_.outputs.size()) {
    return wrong("the model has " + std::to_string(schema_.outputs.size()) + " outputs; asked for " +
                 std::to_string(indices.size()) + " into " + std::to_string(outputs.size()) + " buffers");
  }
  Status status;
  bool ascending = true;
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] >= schema_.outputs.size()) {
      return wrong("there is no output " + std::to_string(indices[i]) + ": the model has " +
                   std::to_string(schema_.outputs.size()));
    }
    const TensorSpec& spec = schema_.outputs[indices[i]];
    // Asked for one output twice, ONNX Runtime writes one of the memories only.
    ascending = ascending && (i == 0 || indices[i - 1] < indices[i]);
    const auto before = indices.first(i);
    if (!ascending && std::ranges::find(before, indices[i]) != before.end()) {
      return wrong("the output '" + spec.name + "' is asked for twice");
    }
    control.output_names_[i] = spec.name.c_str();
    control.output_values_[i] = nullptr;
    const OutputBuffer& buffer = outputs[i];
    if (buffer.data == nullptr || spec.dtype == DType::kString) continue;
    // Not left to ONNX Runtime: some of its kernels write without looking at the type of the memory they are given.
    if (buffer.dtype != spec.dtype) {
      return wrong("the output '" + spec.name + "' is " + std::string(dtype_name(spec.dtype)) + "; its memory is for " +
                   std::string(dtype_name(buffer.dtype)));
    }
    if (is_input_[indices[i]]) continue;
    control.output_values_[i] =
        control.outputs_[i].wrap(*runtime_, buffer.dtype, buffer.shape, buffer.data, buffer.bytes, &status);
    if (!status.ok()) return status;
  }
  return status;
}

Status SessionImpl::take_outputs(RunControlImpl& control, std::span<const std::uint32_t> indices,
                                 std::span<OutputBuffer> outputs) const {
  Status status;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const TensorSpec& spec = schema_.outputs[indices[i]];
    const bool given = outputs[i].data != nullptr && spec.dtype != DType::kString;
    if (given && !is_input_[indices[i]]) continue;  // written in place
    ValueHandle value(control.output_values_[i], {&runtime_->api()});
    if (!status.ok()) continue;
    OutputBuffer made;
    status = adopt(runtime_, std::move(value), &made);
    if (!status.ok()) continue;
    if (!given) {
      outputs[i] = std::move(made);
    } else if (made.shape == outputs[i].shape && made.bytes == outputs[i].bytes) {
      std::memcpy(outputs[i].data, made.data, made.bytes);
    } else {
      status = Status::with_text(ErrorCode::kExecutionError, "the output '" + spec.name + "' came out as " +
                                                                 made.shape.to_string() + "; its memory is for " +
                                                                 outputs[i].shape.to_string());
    }
  }
  return status;
}

Status SessionImpl::run(RunControl& run_control, std::span<const TensorView> inputs,
                        std::span<const std::uint32_t> output_indices, std::span<OutputBuffer> outputs) noexcept {
  auto& control = static_cast<RunControlImpl&>(run_control);
  try {
    if (Status status = prepare_inputs(control, inputs); !status.ok()) return status;
    if (Status status = prepare_outputs(control, output_indices, outputs); !status.ok()) return status;
    RawStatus* const failed =
        runtime_->api().run(session_.get(), control.options_.get(), input_names_.data(), control.input_values_.data(),
                            inputs.size(), control.output_names_.data(), outputs.size(), control.output_values_.data());
    if (failed != nullptr) return to_status(runtime_->api(), failed);
    return take_outputs(control, output_indices, outputs);
  } catch (const std::exception&) {  // ours alone can throw here, and only for want of memory
    return Status::failure(ErrorCode::kOutOfMemory, Reason::kNone);
  }
}

}  // namespace anya::ort
