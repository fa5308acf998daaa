// SPDX-License-Identifier: Apache-2.0
//
// What must be known of an ONNX file before ONNX Runtime may see it, read off its bytes without a protobuf library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace anya::onnx {

struct WalkLimits {
  std::uint64_t max_model_bytes = (std::uint64_t{1} << 31) - 1;  // protobuf's own limit
  std::size_t max_graph_depth = 32;                              // graphs inside graphs (If, Loop, Scan bodies)
  std::uint64_t max_nodes = 1'000'000;
  std::uint64_t max_tensor_bytes = std::uint64_t{64} << 30;  // all tensors together, external ones included
  std::size_t max_external_tensors = 200'000;
  // Empty: any.
  std::vector<std::string> domains;    // operators are of these ("ai.onnx" is ONNX's own), or the model's own functions
  std::vector<std::string> operators;  // and are these alone, "Relu", "com.microsoft.Gelu"; empty: any of the domains
};

struct OpsetImport {
  std::string domain;  // "" is ONNX's own
  std::int64_t version = 0;
};

struct OperatorCount {
  std::string domain;
  std::string type;
  std::uint64_t count = 0;
};

// A tensor whose data lies in another file. Only ever a top-level initializer: everything else is refused.
struct ExternalTensor {
  std::string tensor;
  std::string location;
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> length;  // the rest of the file where it is not said
  std::optional<std::uint64_t> needed;  // what type and dimensions ask for, where the type has a fixed size
};

// An operator whose answer for one row depends on the others of its run.
struct RowCoupling {
  std::string op;              // "DynamicQuantizeLinear", "com.microsoft.DynamicQuantizeMatMul"
  std::string why;             // "its scale comes from the smallest and largest value of all rows"
  bool changes_shape = false;  // true: the shape of its output depends on the data as well
};

struct ModelWalk {
  std::int64_t ir_version = 0;
  std::vector<OpsetImport> opsets;
  std::vector<OperatorCount> ops;  // in order of domain, type
  std::vector<ExternalTensor> external;
  std::vector<std::string> inputs;  // of the top-level graph, as written (initializers may be among them)
  std::vector<std::string> outputs;
  bool has_functions = false;
  bool has_training_info = false;
  bool has_sparse_initializers = false;
  std::uint64_t node_count = 0;
  std::uint64_t tensor_bytes = 0;
  std::vector<RowCoupling> row_coupling_ops;  // each operator once
  std::vector<std::string> random_ops;        // each operator once
};

// Walks the whole file once. Throws kModelInvalid, naming the place and the limit. Thread-safe; does not block; uses
// memory in proportion to names, not to weights.
ModelWalk walk_model(std::span<const std::byte> bytes, const WalkLimits& limits = {});

}  // namespace anya::onnx
