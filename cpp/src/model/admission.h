// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include "anya/request.h"
#include "anya/tensor.h"
#include "model/rule_book.h"

namespace anya {

// Whether a request fits a model, from its descriptors alone: dtypes, ranks, dimensions, rows, bytes. No data is
// touched. PURE and immutable after construction: thread-safe, never blocks, allocates nothing once a request's vectors
// have room.
class Admission {
 public:
  struct Rules {
    bool batch_axis = false;        // axis 0 of every input and output counts rows
    std::vector<bool> predictable;  // per output: its shape follows from the rows
    std::int64_t max_request_bytes = INT64_MAX;
    ShapeRules shapes = {};
  };
  Admission(const ModelSchema& schema, Rules rules);

  // Fills rows, signature and the outputs' dtype (and shape and bytes where predictable), or says what is wrong.
  Status check(Request& request) const noexcept;
  [[nodiscard]] const Rules& rules() const noexcept { return rules_; }
  // Beyond the rows, no input has a free size.
  [[nodiscard]] bool one_shape() const noexcept { return one_shape_; }

 private:
  using SameSize = ShapeRules::SameSize;
  [[nodiscard]] Status check_inputs(const Request& request) const noexcept;
  // Apart, so that the way without rules stays as small as it was.
  [[nodiscard, gnu::noinline, gnu::cold]] Status check_limits(const Request& request) const noexcept;
  [[nodiscard]] std::uint64_t signature_of(const Request& request) const noexcept;

  const ModelSchema& schema_;  // the session's, which outlives the admission
  const Rules rules_;
  std::vector<SameSize> same_sizes_;  // axes that the model, or a rule, gives one name
  bool one_shape_ = true;             // beyond the rows, nothing is free
  bool has_limits_ = false;           // rules of sizes
};

}  // namespace anya
