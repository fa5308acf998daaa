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
    : runtime_(std::move(runtime)),
      input_values_(inputs),
      output_values_(outputs),
      output_names_(outputs),
      is_written_(outputs) {
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
      schema_(read_schema(runtime_->api(), session_.get(), runtime_->allocator())),
      is_copied_(schema_.outputs.size()) {
  for (const TensorSpec& input : schema_.inputs) input_names_.push_back(input.name.c_str());
  for (std::size_t i = 0; i < schema_.outputs.size(); ++i) {
    is_copied_[i] = std::ranges::any_of(schema_.inputs,
                                        [&](const TensorSpec& input) { return input.name == schema_.outputs[i].name; });
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
                                    std::span<const OutputBuffer> outputs, bool into_given) const {
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
    control.is_written_[i] = false;
    const OutputBuffer& buffer = outputs[i];
    if (buffer.data == nullptr || spec.dtype == DType::kString) continue;
    // Not left to ONNX Runtime: some of its kernels write without looking at the type of the memory they are given.
    if (buffer.dtype != spec.dtype) {
      return wrong("the output '" + spec.name + "' is " + std::string(dtype_name(spec.dtype)) + "; its memory is for " +
                   std::string(dtype_name(buffer.dtype)));
    }
    if (!into_given || is_copied_[indices[i]].load(std::memory_order_relaxed)) continue;
    control.output_values_[i] =
        control.outputs_[i].wrap(*runtime_, buffer.dtype, buffer.shape, buffer.data, buffer.bytes, &status);
    if (!status.ok()) return status;
    control.is_written_[i] = true;
  }
  return status;
}

Status SessionImpl::take_outputs(RunControlImpl& control, std::span<const std::uint32_t> indices,
                                 std::span<OutputBuffer> outputs) {
  Status status;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (control.is_written_[i]) continue;
    const bool given = outputs[i].data != nullptr && schema_.outputs[indices[i]].dtype != DType::kString;
    ValueHandle value(control.output_values_[i], {&runtime_->api()});
    if (!status.ok()) continue;
    OutputBuffer made;
    status = adopt(runtime_, std::move(value), &made);
    if (!status.ok()) continue;
    if (given && made.shape == outputs[i].shape && made.bytes == outputs[i].bytes) {
      std::memcpy(outputs[i].data, made.data, made.bytes);
    } else {
      if (given) is_copied_[indices[i]].store(true, std::memory_order_relaxed);
      outputs[i] = std::move(made);
    }
  }
  return status;
}

Status SessionImpl::run(RunControl& run_control, std::span<const TensorView> inputs,
                        std::span<const std::uint32_t> output_indices, std::span<OutputBuffer> outputs) noexcept {
  auto& control = static_cast<RunControlImpl&>(run_control);
  try {
    if (Status status = prepare_inputs(control, inputs); !status.ok()) return status;
    const Api& api = runtime_->api();
    for (const bool into_given : {true, false}) {
      Status status = prepare_outputs(control, output_indices, outputs, into_given);
      if (!status.ok()) return status;
      RawStatus* const failed =
          api.run(session_.get(), control.options_.get(), input_names_.data(), control.input_values_.data(),
                  inputs.size(), control.output_names_.data(), outputs.size(), control.output_values_.data());
      if (failed == nullptr) return take_outputs(control, output_indices, outputs);
      // A model may state a shape that its answers do not always have: without memory of that shape it runs.
      const bool again = into_given && tells_of_shape(api.get_error_message(failed));
      status = to_status(api, failed);
      if (!again) return status;
    }
    return Status::failure(ErrorCode::kExecutionError, Reason::kNone);  // not reached: the second run is the last
  } catch (const std::exception&) {  // ours alone can throw here, and only for want of memory
    return Status::failure(ErrorCode::kOutOfMemory, Reason::kNone);
  }
}

}  // namespace anya::ort
