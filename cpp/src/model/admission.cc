// SPDX-License-Identifier: Apache-2.0
#include "model/admission.h"

#include <map>
#include <string>
#include <utility>

#include "base/hash.h"
#include "batching/cost_model.h"

namespace anya {
namespace {

Status wrong(Reason reason, std::size_t input, std::size_t axis, std::int64_t value, std::int64_t limit) noexcept {
  Status status = Status::failure(ErrorCode::kInvalidInput, reason, value, limit);
  status.tensor = static_cast<std::int16_t>(input);
  status.axis = static_cast<std::int16_t>(axis);
  return status;
}

}  // namespace

Admission::Admission(const ModelSchema& schema, Rules rules) : schema_(schema), rules_(std::move(rules)) {
  std::map<std::string, std::pair<std::uint16_t, std::uint16_t>> first;
  for (std::size_t i = 0; i < schema.inputs.size(); ++i) {
    const TensorSpec& spec = schema.inputs[i];
    one_shape_ &= spec.ranked;
    for (std::size_t axis = 0; axis < spec.shape.rank(); ++axis) {
      if (spec.shape[axis] >= 0) continue;
      if (axis > 0 || !rules_.batch_axis) one_shape_ = false;
      if (axis == 0 && rules_.batch_axis) continue;  // rows have a check of their own
      const std::string symbol = axis < spec.symbols.size() ? spec.symbols[axis] : "";
      if (symbol.empty()) continue;
      const auto here = std::pair(static_cast<std::uint16_t>(i), static_cast<std::uint16_t>(axis));
      const auto [at, is_new] = first.emplace(symbol, here);
      if (!is_new) same_sizes_.push_back({here.first, here.second, at->second.first, at->second.second});
    }
  }
  has_limits_ = !rules_.shapes.axis_limits.empty() || !rules_.shapes.max_bytes.empty();
  same_sizes_.insert(same_sizes_.end(), rules_.shapes.same_sizes.begin(), rules_.shapes.same_sizes.end());
}

Status Admission::check_inputs(const Request& request) const noexcept {
  for (std::size_t i = 0; i < schema_.inputs.size(); ++i) {
    const TensorSpec& spec = schema_.inputs[i];
    const TensorView& given = request.inputs[i];
    if (given.dtype != spec.dtype) {
      return wrong(Reason::kWrongDType, i, 0, static_cast<std::int64_t>(given.dtype),
                   static_cast<std::int64_t>(spec.dtype));
    }
    if (spec.ranked && given.shape.rank() != spec.shape.rank()) {
      return wrong(Reason::kWrongRank, i, 0, static_cast<std::int64_t>(given.shape.rank()),
                   static_cast<std::int64_t>(spec.shape.rank()));
    }
    for (std::size_t axis = 0; axis < given.shape.rank(); ++axis) {
      if (spec.ranked && spec.shape[axis] >= 0 && given.shape[axis] != spec.shape[axis]) {
        return wrong(Reason::kWrongDimension, i, axis, given.shape[axis], spec.shape[axis]);
      }
      if (given.shape[axis] <= 0) return wrong(Reason::kEmptyDimension, i, axis, given.shape[axis], 1);
    }
    if (rules_.batch_axis && given.shape[0] != request.inputs[0].shape[0]) {
      return wrong(Reason::kRowsDisagree, i, 0, given.shape[0], request.inputs[0].shape[0]);
    }
  }
  for (const SameSize& same : same_sizes_) {
    const std::int64_t size = request.inputs[same.input].shape[same.axis];
    const std::int64_t other = request.inputs[same.other_input].shape[same.other_axis];
    if (size != other) return wrong(Reason::kSymbolDisagree, same.input, same.axis, size, other);
  }
  return {};
}

Status Admission::check_limits(const Request& request) const noexcept {
  using Kind = ShapeRules::AxisLimit::Kind;
  for (const ShapeRules::AxisLimit& limit : rules_.shapes.axis_limits) {
    const std::int64_t size = request.inputs[limit.input].shape[limit.axis];
    if (size >= limit.min && size <= limit.max) continue;
    if (limit.kind == Kind::kFixed) return wrong(Reason::kWrongDimension, limit.input, limit.axis, size, limit.max);
    Status status = size < limit.min ? wrong(Reason::kDimensionTooSmall, limit.input, limit.axis, size, limit.min)
                                     : wrong(Reason::kDimensionTooLarge, limit.input, limit.axis, size, limit.max);
    if (limit.kind == Kind::kRows) {
      status.code = ErrorCode::kInputTooLarge;
      status.reason = Reason::kTooManyRows;
    }
    return status;
  }
  for (std::size_t i = 0; i < rules_.shapes.max_bytes.size(); ++i) {
    const std::int64_t limit = rules_.shapes.max_bytes[i];
    const auto bytes = static_cast<std::int64_t>(request.inputs[i].bytes);
    if (bytes <= limit) continue;
    Status status = wrong(Reason::kTensorTooLarge, i, 0, bytes, limit);
    status.code = ErrorCode::kInputTooLarge;
    return status;
  }
  return {};
}

std::uint64_t Admission::signature_of(const Request& request) const noexcept {
  if (one_shape_ && request.output_indices.size() == schema_.outputs.size()) {
    bool in_order = true;
    for (std::size_t i = 0; i < request.output_indices.size(); ++i) in_order &= request.output_indices[i] == i;
    if (in_order) return 0;
  }
  std::uint64_t state = 1;
  for (const TensorView& input : request.inputs) {
    for (std::size_t axis = 1; axis < input.shape.rank(); ++axis) {
      state = hash_combine(state, static_cast<std::uint64_t>(input.shape[axis]));
    }
  }
  for (const std::uint32_t index : request.output_indices) state = hash_combine(state, index + 1);
  return state | 1U;  // never 0
}

Status Admission::check(Request& request) const noexcept {
  if (Status status = check_inputs(request); !status.ok()) return status;
  std::uint64_t total = 0;
  for (TensorView& input : request.inputs) {
    std::uint64_t elements = 0;
    std::uint64_t bytes = 0;
    // What cannot be counted is larger than anything, whatever the inputs before it came to.
    if (!input.shape.element_count(&elements) || __builtin_mul_overflow(elements, element_size(input.dtype), &bytes) ||
        __builtin_add_overflow(total, bytes, &total)) {
      total = UINT64_MAX;
    }
    if (total > static_cast<std::uint64_t>(rules_.max_request_bytes)) {
      const std::int64_t shown = total > INT64_MAX ? INT64_MAX : static_cast<std::int64_t>(total);
      return Status::failure(ErrorCode::kInputTooLarge, Reason::kRequestTooLarge, shown, rules_.max_request_bytes);
    }
    input.bytes = bytes;
  }
  if (has_limits_) {
    if (Status status = check_limits(request); !status.ok()) return status;
  }
  request.rows = rules_.batch_axis ? request.inputs[0].shape[0] : 0;
  request.signature = signature_of(request);
  if (!one_shape_) {
    request.cost_class = CostModel::class_of(total / static_cast<std::uint64_t>(request.rows > 0 ? request.rows : 1));
  }
  request.outputs.resize(request.output_indices.size());
  const TensorSpec* const specs = schema_.outputs.data();  // the indices are the binding's, and good
  for (std::size_t i = 0; i < request.output_indices.size(); ++i) {
    const std::uint32_t index = request.output_indices[i];
    OutputBuffer& output = request.outputs[i];
    output.dtype = specs[index].dtype;
    if (!rules_.predictable[index]) continue;
    output.shape = specs[index].shape;
    if (rules_.batch_axis) output.shape[0] = request.rows;
    std::uint64_t elements = 0;
    std::uint64_t bytes = 0;
    if (!output.shape.element_count(&elements) ||
        __builtin_mul_overflow(elements, element_size(output.dtype), &bytes)) {
      return Status::failure(ErrorCode::kInputTooLarge, Reason::kRequestTooLarge, INT64_MAX, rules_.max_request_bytes);
    }
    output.bytes = bytes;
  }
  return {};
}

}  // namespace anya
