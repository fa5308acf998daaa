// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "anya/rules.h"
#include "anya/stats.h"
#include "anya/tensor.h"
#include "rules/text_rule.h"
#include "rules/value_rule.h"

namespace anya {

// What rules say of descriptors; Admission holds it. Empty where there are no rules.
struct ShapeRules {
  struct AxisLimit {
    std::uint16_t input = 0, axis = 0;
    std::int64_t min = 0, max = 0;
    enum class Kind : std::uint8_t { kRows, kNamed, kFixed } kind = Kind::kNamed;
  };
  struct SameSize {
    std::uint16_t input = 0, axis = 0, other_input = 0, other_axis = 0;
  };
  std::vector<AxisLimit> axis_limits;
  std::vector<SameSize> same_sizes;
  std::vector<std::int64_t> max_bytes;  // per input, or empty
};

// The rules of one model, ready to be held, with what they have met. Constant but for its counters; thread-safe.
class RuleBook {
 public:
  // Throws Error(kConfigError), or kModelInvalid for a rule from the model's own file, in one sentence that begins with
  // the rule's place: an input that the model does not have, another dtype or shape, a bound that the type cannot hold.
  RuleBook(const ModelRules& rules, const ModelSchema& schema);

  [[nodiscard]] const ShapeRules& shapes() const noexcept { return shapes_; }
  [[nodiscard]] bool checks_values(std::size_t input) const noexcept {
    return inputs_[input].values != nullptr || inputs_[input].is_text;
  }
  [[nodiscard]] bool checks_outputs() const noexcept { return checks_outputs_; }
  [[nodiscard]] const TextLimits& text_limits(std::size_t input) const noexcept { return inputs_[input].text_limits; }

  // See Model::check_values; counts what it finds.
  Status check_input(std::size_t input, const TensorView& view, void* to, std::uint64_t* changed) noexcept;
  // One output of a run; `data` is there.
  Status check_output(std::size_t output, const Shape& shape, const void* data) noexcept;
  void count_sanitized(std::size_t input, std::uint64_t values) noexcept {
    inputs_[input].sanitized.fetch_add(values, std::memory_order_relaxed);
  }
  [[nodiscard]] std::vector<TensorCount> read() const;

 private:
  struct Tensor {
    std::string name;
    std::unique_ptr<const rules::ValueRule> values;  // null: nothing to look at
    bool is_text = false;
    rules::TextRule text;
    TextLimits text_limits;
    std::vector<std::int64_t> sizes;  // of an output, -1: any; empty: any shape
    std::atomic<std::uint64_t> sanitized{0};
    std::atomic<std::uint64_t> nonfinite{0};
    bool counts = false;
  };
  void add_input(const InputRule& rule, const ModelSchema& schema);
  void add_output(const OutputRule& rule, const ModelSchema& schema);
  void add_names(const ModelRules& rules, const ModelSchema& schema);
  void add_max_rows(const ModelRules& rules, const ModelSchema& schema);

  ShapeRules shapes_;
  std::vector<Tensor> inputs_;
  std::vector<Tensor> outputs_;
  bool checks_outputs_ = false;
};

}  // namespace anya
