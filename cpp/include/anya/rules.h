// SPDX-License-Identifier: Apache-2.0
//
// What a model's users say of its inputs and outputs beyond what the model itself says. Written down here, held by
// src/rules (values, text) and src/model (shapes, bytes). Without a rule nothing is looked at and nothing is paid.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace anya {

// A number as its author wrote it: whole ones stay exact. It is rounded to the element type of what it is held against.
using Number = std::variant<std::int64_t, std::uint64_t, double>;

// One axis of a stated shape: a size, or a name, or neither ("any").
struct AxisSpec {
  std::int64_t size = -1;
  std::string name;
};

struct InputRule {
  std::string input;
  // Stated facts, held against the model at load; "" and nothing: not stated. Names in `shape` join those of the model.
  std::string dtype;
  std::optional<std::vector<AxisSpec>> shape;
  std::int64_t max_bytes = INT64_MAX;  // of one request; strings: their UTF-8
  // Numbers.
  std::string finite = "reject";    // NaN and infinities: "reject", "clip", "replace", "allow"
  Number replace_with = 0.0;        // what "replace" puts there
  std::optional<Number> min, max;   // inclusive
  std::string on_range = "reject";  // or "clip"
  std::vector<Number> allowed;      // empty: no list
  // Strings.
  std::int64_t max_length = INT64_MAX;  // characters of one string
  bool utf8 = true;                     // bytes must be UTF-8
  std::string control = "reject";       // control characters other than tab and ends of lines; or "allow"
  std::string normalize = "allow";  // what is not in normal form C: "allow", "reject", "nfc" (made so; by the binding)
  bool from_file = false;           // of schema.toml: what does not fit the model makes the model invalid
};

struct OutputRule {
  std::string output;
  std::string dtype;
  std::optional<std::vector<AxisSpec>> shape;  // sizes are held in every answer
  std::string finite = "reject";               // or "allow"
  std::optional<Number> min, max;
  bool from_file = false;
};

// Sizes of a named dimension, wherever it occurs.
struct DimRule {
  std::string name;
  std::int64_t min = 1;
  std::int64_t max = INT64_MAX;
  bool from_file = false;
};

struct ModelRules {
  std::vector<InputRule> inputs;
  std::vector<OutputRule> outputs;
  std::vector<DimRule> dims;
  std::int64_t max_rows = INT64_MAX;  // of one request
  bool max_rows_from_file = false;
  [[nodiscard]] bool empty() const noexcept {
    return inputs.empty() && outputs.empty() && dims.empty() && max_rows == INT64_MAX;
  }
};

// What a binding needs to know before it makes UTF-8 of a string input's text.
struct TextLimits {
  std::int64_t max_length = INT64_MAX;
  std::int64_t max_bytes = INT64_MAX;          // of this input
  std::int64_t max_request_bytes = INT64_MAX;  // of all text of the request
  enum class Normalize : std::uint8_t { kAllow, kReject, kMake } normalize = Normalize::kAllow;
};

}  // namespace anya
