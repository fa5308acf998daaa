// SPDX-License-Identifier: Apache-2.0
#include "model/rule_book.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "base/text.h"

namespace anya {
namespace {

using Axis = std::pair<std::uint16_t, std::uint16_t>;
using Names = std::map<std::string, std::vector<Axis>>;

[[noreturn]] void refuse(bool from_file, const std::string& place, const std::string& what) {
  if (from_file) throw Error(ErrorCode::kModelInvalid, "schema.toml: " + place + ": " + what, "schema.toml." + place);
  throw Error(ErrorCode::kConfigError, place + ": " + what, place);
}

// The refusal of a rule's own field, under the place of the rule.
[[noreturn]] void refuse_inside(bool from_file, const std::string& place, const Error& error) {
  const std::string what = error.what();
  refuse(from_file, place + "." + error.field(), what.substr(error.field().size() + 2));
}

std::size_t find(const std::vector<TensorSpec>& specs, const std::string& name, const char* kind, bool from_file) {
  std::string known;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].name == name) return i;
    known += (known.empty() ? "" : ", ") + quoted(specs[i].name);
  }
  refuse(from_file, std::string(kind) + "s." + name,
         std::string("the model has no such ") + kind + "; it has " + known);
}

// What is stated of a tensor, against what the model says.
void check_facts(const std::string& place, const std::string& dtype, const std::optional<std::vector<AxisSpec>>& shape,
                 const TensorSpec& spec, bool from_file) {
  if (!dtype.empty() && dtype != dtype_name(spec.dtype)) {
    refuse(from_file, place + ".dtype", "says " + dtype + ", the model has " + std::string(dtype_name(spec.dtype)));
  }
  if (!shape) return;
  if (!spec.ranked) refuse(from_file, place + ".shape", "the model does not say how many axes there are; leave it out");
  if (shape->size() != spec.shape.rank()) {
    refuse(from_file, place + ".shape",
           "has " + std::to_string(shape->size()) + " axes, the model has " + spec.shape.to_string());
  }
  for (std::size_t axis = 0; axis < shape->size(); ++axis) {
    const std::int64_t size = (*shape)[axis].size;
    if (size >= 0 && spec.shape[axis] >= 0 && size != spec.shape[axis]) {
      refuse(from_file, place + ".shape",
             "says " + std::to_string(size) + " on axis " + std::to_string(axis) + ", the model has " +
                 spec.shape.to_string());
    }
  }
}

template <typename Rule>
std::unique_ptr<const rules::ValueRule> value_rule(const std::string& place, const Rule& rule, const TensorSpec& spec) {
  try {
    return rules::make_value_rule(rule, spec);
  } catch (const Error& error) {
    refuse_inside(rule.from_file, place, error);
  }
}

}  // namespace

RuleBook::RuleBook(const ModelRules& rules, const ModelSchema& schema)
    : inputs_(schema.inputs.size()), outputs_(schema.outputs.size()) {
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    inputs_[i].name = schema.inputs[i].name;
    inputs_[i].is_text = schema.inputs[i].dtype == DType::kString;
  }
  for (std::size_t i = 0; i < outputs_.size(); ++i) outputs_[i].name = schema.outputs[i].name;
  for (const InputRule& rule : rules.inputs) add_input(rule, schema);
  for (const OutputRule& rule : rules.outputs) add_output(rule, schema);
  add_names(rules, schema);
  if (rules.max_rows != INT64_MAX) add_max_rows(rules, schema);
}

void RuleBook::add_input(const InputRule& rule, const ModelSchema& schema) {
  const std::size_t index = find(schema.inputs, rule.input, "input", rule.from_file);
  const TensorSpec& spec = schema.inputs[index];
  const std::string place = "inputs." + rule.input;
  check_facts(place, rule.dtype, rule.shape, spec, rule.from_file);
  Tensor& tensor = inputs_[index];
  tensor.values = value_rule(place, rule, spec);
  tensor.counts = tensor.values != nullptr || tensor.is_text;
  if (tensor.is_text) {
    try {
      tensor.text = rules::make_text_rule(rule);
      tensor.text_limits = {rule.max_length, rule.max_bytes, INT64_MAX, rules::normalize_of(rule)};
    } catch (const Error& error) {
      refuse_inside(rule.from_file, place, error);
    }
  } else if (rule.max_length != INT64_MAX || rule.normalize != "allow" || rule.control != "reject" || !rule.utf8) {
    refuse(rule.from_file, place + ".max_length",
           "rules of text are for strings, this is " + std::string(dtype_name(spec.dtype)));
  } else if (rule.max_bytes != INT64_MAX) {
    shapes_.max_bytes.resize(inputs_.size(), INT64_MAX);
    shapes_.max_bytes[index] = rule.max_bytes;
  }
  if (!rule.shape) return;
  for (std::size_t axis = 0; axis < rule.shape->size(); ++axis) {
    const std::int64_t size = (*rule.shape)[axis].size;
    if (size < 0 || spec.shape[axis] >= 0) continue;
    shapes_.axis_limits.push_back({static_cast<std::uint16_t>(index), static_cast<std::uint16_t>(axis), size, size,
                                   ShapeRules::AxisLimit::Kind::kFixed});
  }
}

void RuleBook::add_output(const OutputRule& rule, const ModelSchema& schema) {
  const std::size_t index = find(schema.outputs, rule.output, "output", rule.from_file);
  const TensorSpec& spec = schema.outputs[index];
  const std::string place = "outputs." + rule.output;
  check_facts(place, rule.dtype, rule.shape, spec, rule.from_file);
  Tensor& tensor = outputs_[index];
  tensor.values = value_rule(place, rule, spec);
  tensor.counts = tensor.values != nullptr;
  if (rule.shape) {
    for (const AxisSpec& axis : *rule.shape) tensor.sizes.push_back(axis.size);
  }
  checks_outputs_ |= tensor.values != nullptr || !tensor.sizes.empty();
}

// Dimensions of one name, whether the model or a rule gives it, have one size in a request, within the name's limits.
void RuleBook::add_names(const ModelRules& rules, const ModelSchema& schema) {
  Names names;
  Names stated;
  for (std::size_t i = 0; i < schema.inputs.size(); ++i) {
    const TensorSpec& spec = schema.inputs[i];
    const auto rule = std::ranges::find(rules.inputs, spec.name, &InputRule::input);
    const auto* const shape = rule == rules.inputs.end() || !rule->shape ? nullptr : &*rule->shape;
    for (std::size_t axis = 0; axis < spec.shape.rank(); ++axis) {
      const Axis here(static_cast<std::uint16_t>(i), static_cast<std::uint16_t>(axis));
      const std::string own = axis < spec.symbols.size() && spec.shape[axis] < 0 ? spec.symbols[axis] : "";
      if (!own.empty()) names[own].push_back(here);
      if (shape == nullptr) continue;
      const std::string& given = (*shape)[axis].name;
      if (given.empty()) continue;
      if (given != own) names[given].push_back(here);
      stated[given].push_back(here);
    }
  }
  for (const auto& [name, axes] : stated) {
    const std::vector<Axis>& all = names[name];
    for (std::size_t i = 1; i < all.size(); ++i) {
      shapes_.same_sizes.push_back({all[i].first, all[i].second, all[0].first, all[0].second});
    }
  }
  for (const DimRule& rule : rules.dims) {
    const auto found = names.find(rule.name);
    if (found == names.end()) refuse(rule.from_file, "dims." + rule.name, "no input has a dimension of that name");
    for (const Axis& axis : found->second) {
      const std::int64_t fixed = schema.inputs[axis.first].shape[axis.second];
      if (fixed >= 0 && (fixed < rule.min || fixed > rule.max)) {
        refuse(rule.from_file, "dims." + rule.name,
               "input " + quoted(schema.inputs[axis.first].name) + " has size " + std::to_string(fixed) + " there");
      }
      shapes_.axis_limits.push_back({axis.first, axis.second, rule.min, rule.max, ShapeRules::AxisLimit::Kind::kNamed});
    }
  }
}

void RuleBook::add_max_rows(const ModelRules& rules, const ModelSchema& schema) {
  bool found = false;
  for (std::size_t i = 0; i < schema.inputs.size(); ++i) {
    const TensorSpec& spec = schema.inputs[i];
    if (!spec.ranked || spec.shape.rank() == 0 || spec.shape[0] >= 0) continue;
    found = true;
    shapes_.axis_limits.push_back(
        {static_cast<std::uint16_t>(i), 0, 1, rules.max_rows, ShapeRules::AxisLimit::Kind::kRows});
  }
  if (!found) refuse(rules.max_rows_from_file, "max_rows", "no input of the model has a free first axis");
}

Status RuleBook::check_input(std::size_t input, const TensorView& view, void* to, std::uint64_t* changed) noexcept {
  *changed = 0;
  Tensor& tensor = inputs_[input];
  Status status;
  if (tensor.is_text) {
    status =
        tensor.text.check({static_cast<const std::string_view*>(view.data), view.bytes / sizeof(std::string_view)});
  } else {
    rules::Findings findings;
    const std::size_t count = view.bytes / element_size(view.dtype);
    bool must_change = false;
    status = to == nullptr ? tensor.values->look(view.data, count, &findings, &must_change)
                           : tensor.values->take(view.data, to, count, &findings);
    *changed = must_change ? UINT64_MAX : findings.changed;
    if (findings.nonfinite > 0) tensor.nonfinite.fetch_add(findings.nonfinite, std::memory_order_relaxed);
    // What was changed in a request that is refused after all was given to nobody.
    if (status.ok() && findings.changed > 0) count_sanitized(input, findings.changed);
  }
  status.tensor = status.ok() ? std::int16_t{-1} : static_cast<std::int16_t>(input);
  return status;
}

Status RuleBook::check_output(std::size_t output, const Shape& shape, const void* data) noexcept {
  Tensor& tensor = outputs_[output];
  Status status;
  const std::size_t rank = tensor.sizes.size();
  if (rank > 0 && shape.rank() != rank) {
    status = Status::failure(ErrorCode::kModelOutputInvalid, Reason::kWrongRank,
                             static_cast<std::int64_t>(shape.rank()), static_cast<std::int64_t>(rank));
  }
  for (std::size_t axis = 0; status.ok() && axis < rank; ++axis) {
    if (tensor.sizes[axis] < 0 || tensor.sizes[axis] == shape[axis]) continue;
    status = Status::failure(ErrorCode::kModelOutputInvalid, Reason::kWrongDimension, shape[axis], tensor.sizes[axis]);
    status.axis = static_cast<std::int16_t>(axis);
  }
  std::uint64_t count = 0;
  if (status.ok() && tensor.values != nullptr && shape.element_count(&count)) {
    rules::Findings findings;
    bool must_change = false;
    status = tensor.values->look(data, count, &findings, &must_change);
    if (findings.nonfinite > 0) tensor.nonfinite.fetch_add(findings.nonfinite, std::memory_order_relaxed);
  }
  if (!status.ok()) status.tensor = static_cast<std::int16_t>(output);
  return status;
}

std::vector<TensorCount> RuleBook::read() const {
  std::vector<TensorCount> all;
  for (const auto* const side : {&inputs_, &outputs_}) {
    for (const Tensor& tensor : *side) {
      if (!tensor.counts) continue;
      all.push_back({tensor.name, tensor.sanitized.load(std::memory_order_relaxed),
                     tensor.nonfinite.load(std::memory_order_relaxed)});
    }
  }
  return all;
}

}  // namespace anya
