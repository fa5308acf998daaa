// SPDX-License-Identifier: Apache-2.0
#include "onnx/operators.h"

#include <algorithm>
#include <array>

#include "base/text.h"

namespace anya::onnx {
namespace {

struct Coupling {
  std::string_view domain;
  std::string_view type;
  const char* why;
  bool changes_shape;
};

constexpr std::string_view kMicrosoft = "com.microsoft";
constexpr const char* kScale = "its scale comes from the smallest and the largest value of all rows";
constexpr const char* kCount = "how much it gives depends on the values of all rows";
constexpr const char* kPadding = "it pads every row to the longest one of the run";
constexpr const char* kSearch = "it goes on until the last row is done and pads the others";

constexpr std::array kCouplings = {
    // dynamic quantisation: MatMulInteger and ConvInteger are exact themselves, what feeds them is not
    Coupling{"", "DynamicQuantizeLinear", kScale, false},
    Coupling{kMicrosoft, "DynamicQuantizeMatMul", kScale, false},
    Coupling{kMicrosoft, "DynamicQuantizeLSTM", kScale, false},
    // as many results as the data asks for: they cannot be given back to rows
    Coupling{"", "NonZero", kCount, true},
    Coupling{"", "Unique", kCount, true},
    Coupling{kMicrosoft, "Unique", kCount, true},
    Coupling{"", "Compress", kCount, true},
    Coupling{"", "NonMaxSuppression", kCount, true},
    // text: as wide as the widest row
    Coupling{"", "StringSplit", kPadding, true},
    Coupling{kMicrosoft, "Tokenizer", kPadding, true},
    // text generation
    Coupling{kMicrosoft, "BeamSearch", kSearch, true},
    Coupling{kMicrosoft, "WhisperBeamSearch", kSearch, true},
    Coupling{kMicrosoft, "GreedySearch", kSearch, true},
    Coupling{kMicrosoft, "Sampling", kSearch, true},
};

struct Name {
  std::string_view domain;
  std::string_view type;
};
constexpr std::array kRandom = {
    Name{"", "RandomNormal"}, Name{"", "RandomNormalLike"}, Name{"", "RandomUniform"},    Name{"", "RandomUniformLike"},
    Name{"", "Multinomial"},  Name{"", "Bernoulli"},        Name{kMicrosoft, "Sampling"},
};
// Operators that run foreign code or read files of their own: nothing that was hashed vouches for what they load.
constexpr std::array kForbidden = {
    Name{kMicrosoft, "EPContext"},
    Name{kMicrosoft, "PyOp"},
    Name{kMicrosoft, "PythonOp"},
    Name{kMicrosoft, "Snpe"},
};

template <std::size_t N>
bool among(const std::array<Name, N>& names, std::string_view domain, std::string_view type) noexcept {
  return std::any_of(names.begin(), names.end(),
                     [&](const Name& name) { return name.domain == domain && name.type == type; });
}

}  // namespace

std::optional<RowCoupling> row_coupling(const NodeFacts& node) {
  const bool training = node.training_mode || node.training_output;
  if (node.domain.empty() && node.type == "BatchNormalization" && training) {
    return RowCoupling{"BatchNormalization", "it is in training mode: mean and variance come from all rows", false};
  }
  const auto* found = std::ranges::find_if(
      kCouplings, [&](const Coupling& c) { return c.domain == node.domain && c.type == node.type; });
  if (found == kCouplings.end()) return std::nullopt;
  return RowCoupling{full_name(node.domain, node.type), found->why, found->changes_shape};
}

bool is_random(std::string_view domain, std::string_view type) noexcept { return among(kRandom, domain, type); }

bool is_forbidden(std::string_view domain, std::string_view type) noexcept { return among(kForbidden, domain, type); }

std::string allow_list_fault(const WalkLimits& limits, std::string_view domain, std::string_view type) {
  const auto listed = [](const std::vector<std::string>& all, std::string_view one) {
    return all.empty() || std::ranges::find(all, one) != all.end();
  };
  const std::string name = full_name(domain, type);
  const std::string_view named = domain.empty() ? std::string_view("ai.onnx") : domain;
  if (!listed(limits.domains, named)) {
    return "the model has the operator " + quoted(name, 80) + ", and operators of " + quoted(named, 80) +
           " are not allowed (ModelLimits.domains)";
  }
  if (listed(limits.operators, name)) return {};
  return "the model has the operator " + quoted(name, 80) + ", which is not allowed (ModelLimits.operators)";
}

std::string_view quantization_of(const std::vector<OperatorCount>& ops) noexcept {
  bool is_static = false;
  for (const OperatorCount& each : ops) {
    const std::string_view type = each.type;
    if (type.starts_with("Dynamic") || type == "MatMulInteger" || type == "ConvInteger") return "dynamic";
    is_static = is_static || type.starts_with("QLinear") || type == "DequantizeLinear" || type == "QGemm";
  }
  return is_static ? "static" : "none";
}

std::string full_name(std::string_view domain, std::string_view type) {
  std::string name(domain);
  if (!name.empty()) name += '.';
  return name.append(type);
}

}  // namespace anya::onnx
