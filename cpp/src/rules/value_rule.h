// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "anya/rules.h"
#include "anya/status.h"
#include "anya/tensor.h"

namespace anya::rules {

// What was met while values were looked at.
struct Findings {
  std::uint64_t changed = 0;
  std::uint64_t nonfinite = 0;
};

// The rule of one numeric tensor, made for its element type. Values go through it in blocks that fit the first-level
// cache: each block is copied and then tested as a whole (in vectors); only a block that holds something odd is looked
// at value by value. Immutable, thread-safe; never blocks, never allocates.
class ValueRule {
 public:
  virtual ~ValueRule() = default;

  // `from` and `to` hold `count` elements. to == from: changes in place; otherwise copies first, block by block, and
  // looks at the copy, so that what is checked is what will be run whatever becomes of `from`.
  virtual Status take(const void* from, void* to, std::size_t count, Findings* findings) const noexcept = 0;
  // Looks only. *must_change: something has to be changed; the rest has not been looked at then.
  virtual Status look(const void* from, std::size_t count, Findings* findings, bool* must_change) const noexcept = 0;
};

// The rule in terms of `spec`'s element type; null where there is nothing to look at. Throws Error(kConfigError) with a
// sentence that begins with the rule's field: a bound that the type cannot hold, a fraction for whole numbers, a rule
// of numbers for strings.
std::unique_ptr<ValueRule> make_value_rule(const InputRule& rule, const TensorSpec& spec);
// The same for an output, where nothing is ever changed.
std::unique_ptr<ValueRule> make_value_rule(const OutputRule& rule, const TensorSpec& spec);

}  // namespace anya::rules
