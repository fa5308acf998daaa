// SPDX-License-Identifier: Apache-2.0
#include "model/batch_axis.h"

#include <utility>

#include "base/text.h"

namespace anya {
namespace {

std::string symbol_of(const TensorSpec& spec, std::size_t axis) {
  return axis < spec.symbols.size() ? spec.symbols[axis] : std::string();
}

// "" or why this tensor's axis 0 cannot count rows.
std::string axis_fault(const TensorSpec& spec, const char* kind) {
  const std::string who = std::string(kind) + " " + quoted(spec.name);
  if (!spec.ranked) return who + " has no stated number of axes";
  if (spec.shape.rank() == 0) return who + " is a scalar, it has no first axis";
  if (spec.shape[0] >= 0) return who + " has the fixed first dimension " + std::to_string(spec.shape[0]);
  return {};
}

}  // namespace

BatchAxis decide_batch_axis(const ModelSchema& schema) {
  if (schema.inputs.empty()) return {false, "the model has no inputs"};
  if (schema.outputs.empty()) return {false, "the model has no outputs"};
  std::string batch_symbol;
  std::string named_by;
  for (const TensorSpec& input : schema.inputs) {
    if (std::string fault = axis_fault(input, "input"); !fault.empty()) return {false, std::move(fault)};
    const std::string symbol = symbol_of(input, 0);
    if (symbol.empty()) continue;
    if (batch_symbol.empty()) {
      batch_symbol = symbol;
      named_by = input.name;
    } else if (symbol != batch_symbol) {
      return {false, "the first axes of inputs " + quoted(named_by) + " and " + quoted(input.name) +
                         " are different things: " + quoted(batch_symbol) + " and " + quoted(symbol)};
    }
  }
  for (const TensorSpec& output : schema.outputs) {
    if (std::string fault = axis_fault(output, "output"); !fault.empty()) return {false, std::move(fault)};
  }
  // [N, N]: how wide a row is would depend on how many there are.
  for (const auto* tensors : {&schema.inputs, &schema.outputs}) {
    for (const TensorSpec& spec : *tensors) {
      for (std::size_t axis = 1; axis < spec.shape.rank() && !batch_symbol.empty(); ++axis) {
        if (spec.shape[axis] >= 0 || symbol_of(spec, axis) != batch_symbol) continue;
        return {false, "axis " + std::to_string(axis) + " of " + quoted(spec.name) + " has the size of the batch, " +
                           quoted(batch_symbol) + ", too"};
      }
    }
  }
  return {true, "the first axis of every input and output is free"};
}

bool shape_follows(const TensorSpec& output, bool batch_axis) {
  if (!output.ranked || output.dtype == DType::kString || output.dtype == DType::kUndefined) return false;
  for (std::size_t axis = 0; axis < output.shape.rank(); ++axis) {
    const bool rows = axis == 0 && batch_axis;
    if (!rows && output.shape[axis] < 0) return false;
  }
  return true;
}

Shape shape_for_rows(const TensorSpec& output, bool batch_axis, std::int64_t rows) {
  Shape shape = output.shape;
  if (batch_axis && shape.rank() > 0) shape[0] = rows;
  return shape;
}

}  // namespace anya
