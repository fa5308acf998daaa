// SPDX-License-Identifier: Apache-2.0
//
// What is known of single operators, as far as it decides how a model may be run. Pure; thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "onnx/wire_walk.h"

namespace anya::onnx {

// The facts of one node that the answers depend on.
struct NodeFacts {
  std::string_view domain;  // "ai.onnx" is already ""
  std::string_view type;
  bool training_mode = false;    // the attribute training_mode is not 0
  bool training_output = false;  // more outputs than inference has (BatchNormalization before opset 14)
};

// Why this operator's answer for a row depends on its company; nothing if it does not, or cannot be told from its name:
// Softmax over axis 0, an If whose condition looks at all rows. The check on made-up rows is there for those.
std::optional<RowCoupling> row_coupling(const NodeFacts& node);

// True if two runs on the same input may differ. Dropout is not here: it depends on a value, see wire_walk.cc.
bool is_random(std::string_view domain, std::string_view type) noexcept;

// True for an operator that would run foreign code or open a file by itself: such a model is refused.
bool is_forbidden(std::string_view domain, std::string_view type) noexcept;

// Why an operator is not on the lists of what is allowed, or "".
std::string allow_list_fault(const WalkLimits& limits, std::string_view domain, std::string_view type);

// How a model with these operators computes: "dynamic" (it quantises what it is asked), "static" (it was quantised with
// fixed scales), "none".
std::string_view quantization_of(const std::vector<OperatorCount>& ops) noexcept;

// "Relu", "com.microsoft.QAttention"
std::string full_name(std::string_view domain, std::string_view type);

}  // namespace anya::onnx
