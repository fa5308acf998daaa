// SPDX-License-Identifier: Apache-2.0
#include "onnx/wire_walk.h"

#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "anya/status.h"
#include "base/text.h"
#include "onnx/file_kind.h"
#include "onnx/operators.h"
#include "onnx/tensor_walk.h"
#include "onnx/wire_reader.h"

namespace anya::onnx {
namespace {

using Bytes = std::span<const std::byte>;

// Where the walk is: a chain of frames on the stack, put into words only when something is wrong.
struct Place {
  const Place* parent = nullptr;
  const char* what = "";
  std::size_t index = SIZE_MAX;

  [[nodiscard]] std::string text() const {
    std::string own = what;
    if (index != SIZE_MAX) own += "[" + std::to_string(index) + "]";
    return parent == nullptr ? own : parent->text() + "/" + own;
  }
};

[[noreturn]] void throw_invalid(const std::string& message) { throw Error(ErrorCode::kModelInvalid, message); }
[[noreturn]] void throw_at(const Place& place, const std::string& what) {
  throw_invalid("not a valid ONNX model: " + place.text() + " " + what);
}

// Every field of a message, each handed to `take(field)`.
template <typename Take>
void each_field(Bytes bytes, const Place& place, Take take) {
  WireReader reader(bytes);
  Field field;
  while (reader.next(&field)) take(field);
  if (reader.fault() != nullptr) throw_at(place, reader.fault());
}

Bytes message(const Field& field, const Place& place) {
  if (field.type != WireType::kLength) throw_at(place, "has a field of the wrong wire type");
  return field.bytes;
}
std::string_view text(const Field& field, const Place& place) {
  message(field, place);
  return field.text();
}
std::uint64_t number(const Field& field, const Place& place) {
  if (field.type != WireType::kVarint) throw_at(place, "has a field of the wrong wire type");
  return field.value;
}
std::string_view own_domain(std::string_view domain) { return domain == "ai.onnx" ? std::string_view() : domain; }

// The recursion over a model's messages. Views point into the model's bytes, which outlive the walk.
class Walk {
 public:
  explicit Walk(const WalkLimits& limits) : limits_(limits) {}

  ModelWalk run(Bytes bytes) {
    const Place place{nullptr, "model"};
    bool has_graph = false;
    std::size_t functions = 0;
    std::size_t trainings = 0;
    each_field(bytes, place, [&](const Field& field) {
      switch (field.number) {
        case 1:
          walk_.ir_version = static_cast<std::int64_t>(number(field, place));
          break;
        case 7:
          graph(message(field, place), {&place, "graph"}, 1, true);
          has_graph = true;
          break;
        case 8:
          opset(message(field, place), {&place, "opset_import", walk_.opsets.size()});
          break;
        case 20:
          walk_.has_training_info = true;
          training(message(field, place), {&place, "training_info", trainings++});
          break;
        case 25:
          walk_.has_functions = true;
          function(message(field, place), {&place, "function", functions++});
          break;
        default:
          break;
      }
    });
    if (!has_graph) throw_invalid("not a valid ONNX model: it has no graph (is it an ONNX file at all?)");
    return finish();
  }

 private:
  void opset(Bytes bytes, const Place& place) {
    OpsetImport import;
    each_field(bytes, place, [&](const Field& field) {
      if (field.number == 1) import.domain = text(field, place);
      if (field.number == 2) import.version = static_cast<std::int64_t>(number(field, place));
    });
    walk_.opsets.push_back(std::move(import));
  }

  void training(Bytes bytes, const Place& place) {
    each_field(bytes, place, [&](const Field& field) {
      if (field.number == 1) graph(message(field, place), {&place, "initialization"}, 1, false);
      if (field.number == 2) graph(message(field, place), {&place, "algorithm"}, 1, false);
    });
  }

  void function(Bytes bytes, const Place& place) {
    std::size_t nodes = 0;
    std::size_t attributes = 0;
    std::string_view name;
    std::string_view domain;
    each_field(bytes, place, [&](const Field& field) {
      if (field.number == 1) name = text(field, place);
      if (field.number == 7) node(message(field, place), {&place, "node", nodes++}, 1);
      if (field.number == 10) domain = own_domain(text(field, place));
      if (field.number == 11) attribute(message(field, place), {&place, "attribute", attributes++}, 1, nullptr);
    });
    functions_.emplace(domain, name);
  }

  void graph(Bytes bytes, const Place& place, std::size_t depth, bool top) {
    if (depth > limits_.max_graph_depth) {
      throw_invalid("the model nests graphs deeper than the limit of " + std::to_string(limits_.max_graph_depth));
    }
    std::size_t nodes = 0;
    std::size_t initializers = 0;
    std::size_t sparses = 0;
    each_field(bytes, place, [&](const Field& field) {
      switch (field.number) {
        case 1:
          node(message(field, place), {&place, "node", nodes++}, depth);
          break;
        case 5: {
          const Place at{&place, "initializer", initializers++};
          const TensorFacts facts = tensor(message(field, place), at, top);
          if (facts.is_false) falses_.insert(facts.name);
          break;
        }
        case 11:
          if (top) walk_.inputs.push_back(value_name(message(field, place), {&place, "input", walk_.inputs.size()}));
          break;
        case 12:
          if (top) walk_.outputs.push_back(value_name(message(field, place), {&place, "output", walk_.outputs.size()}));
          break;
        case 15:
          sparse(message(field, place), {&place, "sparse_initializer", sparses++});
          break;
        default:
          break;
      }
    });
  }

  static std::string value_name(Bytes bytes, const Place& place) {
    std::string name;
    each_field(bytes, place, [&](const Field& field) {
      if (field.number == 1) name = text(field, place);
    });
    return name;
  }

  // What attributes say that matters for their node.
  struct AttributeFacts {
    bool training_mode = false;
    bool value_is_false = false;
  };

  void node(Bytes bytes, const Place& place, std::size_t depth) {
    if (++walk_.node_count > limits_.max_nodes) {
      throw_invalid("the model has more nodes than the limit of " + std::to_string(limits_.max_nodes));
    }
    NodeFacts facts;
    AttributeFacts attributes;
    std::string_view first_output;
    std::string_view third_input;
    std::size_t inputs = 0;
    std::size_t outputs = 0;
    std::size_t attribute_count = 0;
    each_field(bytes, place, [&](const Field& field) {
      switch (field.number) {
        case 1:
          if (inputs++ == 2) third_input = text(field, place);
          break;
        case 2:
          if (outputs++ == 0) first_output = text(field, place);
          break;
        case 4:
          facts.type = text(field, place);
          break;
        case 5:
          attribute(message(field, place), {&place, "attribute", attribute_count++}, depth, &attributes);
          break;
        case 7:
          facts.domain = own_domain(text(field, place));
          break;
        default:
          break;
      }
    });
    facts.training_mode = attributes.training_mode;
    facts.training_output = outputs > 1;
    if (is_forbidden(facts.domain, facts.type)) {
      throw_at(place, "is the operator " + full_name(facts.domain, facts.type) +
                          ", which loads code or files of its own; such models are not run");
    }
    ++ops_[{facts.domain, facts.type}];
    if (auto coupling = row_coupling(facts)) couplings_.emplace(coupling->op, std::move(*coupling));
    if (is_random(facts.domain, facts.type)) randoms_.insert(full_name(facts.domain, facts.type));
    if (facts.domain.empty() && facts.type == "Dropout" && !third_input.empty()) dropout_switches_.insert(third_input);
    if (facts.domain.empty() && facts.type == "Constant" && attributes.value_is_false) falses_.insert(first_output);
  }

  void attribute(Bytes bytes, const Place& place, std::size_t depth, AttributeFacts* facts) {
    std::string_view name;
    bool is_set = false;
    bool by_reference = false;
    bool is_false = false;
    std::size_t graphs = 0;
    std::size_t tensors = 0;
    std::size_t sparses = 0;
    each_field(bytes, place, [&](const Field& field) {
      switch (field.number) {
        case 1:
          name = text(field, place);
          break;
        case 3:
          is_set = number(field, place) != 0;
          break;
        case 5:
          is_false = tensor(message(field, place), {&place, "tensor"}, false).is_false;
          break;
        case 6:
          graph(message(field, place), {&place, "graph"}, depth + 1, false);
          break;
        case 10:
          tensor(message(field, place), {&place, "tensor", tensors++}, false);
          break;
        case 11:
          graph(message(field, place), {&place, "graph", graphs++}, depth + 1, false);
          break;
        case 21:
          by_reference = true;  // a function's parameter: its value is the caller's
          break;
        case 22:
          sparse(message(field, place), {&place, "sparse_tensor"});
          break;
        case 23:
          sparse(message(field, place), {&place, "sparse_tensor", sparses++});
          break;
        default:
          break;
      }
    });
    if (facts == nullptr) return;
    if (name == "training_mode") facts->training_mode = is_set || by_reference;
    if (name == "value") facts->value_is_false = is_false;
  }

  TensorFacts tensor(Bytes bytes, const Place& place, bool may_be_external) {
    TensorFacts facts;
    const std::string fault = walk_tensor(bytes, &facts);
    if (!fault.empty()) throw_at(place, tensor_name(facts) + fault);
    if (facts.external && !may_be_external) {
      throw_at(place, tensor_name(facts) + "keeps its data in " + quoted(facts.location, 80) +
                          "; only initializers of the main graph may, because nowhere else does ONNX Runtime take it "
                          "from verified memory");
    }
    count_bytes(facts.bytes.value_or(0), place);
    if (facts.external) {
      if (walk_.external.size() >= limits_.max_external_tensors) {
        throw_invalid("the model has more external tensors than the limit of " +
                      std::to_string(limits_.max_external_tensors));
      }
      walk_.external.push_back(
          {std::string(facts.name), std::string(facts.location), facts.offset, facts.length, facts.bytes});
    }
    return facts;
  }

  // "(named 'w') ", where the tensor has a name.
  static std::string tensor_name(const TensorFacts& facts) {
    return facts.name.empty() ? std::string() : "(named " + quoted(facts.name, 80) + ") ";
  }

  void count_bytes(std::uint64_t bytes, const Place& place) {
    if (!__builtin_add_overflow(walk_.tensor_bytes, bytes, &walk_.tensor_bytes) &&
        walk_.tensor_bytes <= limits_.max_tensor_bytes) {
      return;
    }
    throw_at(place,
             "takes the model's tensors past the limit of " + std::to_string(limits_.max_tensor_bytes) + " bytes");
  }

  void sparse(Bytes bytes, const Place& place) {
    walk_.has_sparse_initializers = true;
    std::int32_t type = 0;
    std::uint64_t elements = 1;
    const auto dim = [&](std::uint64_t value) {
      const bool negative = static_cast<std::int64_t>(value) < 0;
      if (negative || __builtin_mul_overflow(elements, value, &elements)) throw_at(place, "has impossible dimensions");
    };
    each_field(bytes, place, [&](const Field& field) {
      if (field.number == 1) type = tensor(message(field, place), {&place, "values"}, false).data_type;
      if (field.number == 2) tensor(message(field, place), {&place, "indices"}, false);
      if (field.number != 3) return;
      if (field.type == WireType::kVarint) return dim(field.value);
      WireReader body(message(field, place));
      std::uint64_t value = 0;
      while (body.next_varint(&value)) dim(value);
      if (body.fault() != nullptr) throw_at(place, body.fault());
    });
    // A few bytes may stand for a huge dense tensor, and ONNX Runtime makes it dense while it loads.
    std::uint64_t bits = 0;
    const bool overflow = __builtin_mul_overflow(elements, std::uint64_t{element_bits(type)}, &bits);
    if (overflow || bits / 8 > limits_.max_model_bytes) {
      throw_at(place, "unpacks to more than the limit of " + std::to_string(limits_.max_model_bytes) + " bytes");
    }
    count_bytes(bits / 8, place);
  }

  ModelWalk finish() {
    for (const auto& [key, count] : ops_) {
      // A function of the model is what its nodes are.
      const std::string fault = functions_.contains(key) ? "" : allow_list_fault(limits_, key.first, key.second);
      if (!fault.empty()) throw_invalid(fault);
      walk_.ops.push_back({std::string(key.first), std::string(key.second), count});
    }
    for (auto& [op, coupling] : couplings_) walk_.row_coupling_ops.push_back(std::move(coupling));
    // Dropout does nothing unless its switch is on; one that is not plainly false may be.
    for (const std::string_view name : dropout_switches_) {
      if (!falses_.contains(name)) randoms_.insert("Dropout");
    }
    walk_.random_ops.assign(randoms_.begin(), randoms_.end());
    return std::move(walk_);
  }

  const WalkLimits& limits_;
  ModelWalk walk_;
  std::map<std::pair<std::string_view, std::string_view>, std::uint64_t> ops_;
  std::set<std::pair<std::string_view, std::string_view>> functions_;  // domain, name
  std::map<std::string, RowCoupling> couplings_;
  std::set<std::string> randoms_;
  std::set<std::string_view> dropout_switches_;
  std::set<std::string_view> falses_;  // names of values that are the constant false
};

}  // namespace

ModelWalk walk_model(std::span<const std::byte> bytes, const WalkLimits& limits) {
  if (bytes.size() > limits.max_model_bytes) {
    throw_invalid("the model holds " + std::to_string(bytes.size()) + " bytes, an ONNX file can hold " +
                  std::to_string(limits.max_model_bytes) + " at most; save its weights as external data");
  }
  // ONNX Runtime takes this mark at its word, whatever else the bytes would be.
  if (is_ort_format(bytes)) {
    throw_invalid(
        "not a valid ONNX model: it is in ONNX Runtime's own ORT format; load the .onnx file it was made from");
  }
  try {
    return Walk(limits).run(bytes);
  } catch (const Error&) {
    if (const std::string_view kind = foreign_kind(bytes); !kind.empty()) {
      throw_invalid("not a valid ONNX model: it is " + std::string(kind));
    }
    throw;
  }
}

}  // namespace anya::onnx
