// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "anya/rules.h"
#include "anya/status.h"

namespace anya::rules {

// What a string of a string input may hold. A default one is what every string input is held to: UTF-8 without NUL.
// Immutable, thread-safe, pure. (Normal form C needs Unicode's tables: the binding asks Python's.)
struct TextRule {
  std::int64_t max_length = INT64_MAX;  // characters
  std::int64_t max_bytes = INT64_MAX;   // of all strings together
  bool utf8 = true;
  enum class Control : std::uint8_t { kAllow, kRejectNul, kReject } control = Control::kRejectNul;

  [[nodiscard]] Status check(std::span<const std::string_view> strings) const noexcept;
};

// The offset of the first byte that is no UTF-8, or the size. Strict: no overlong forms, no surrogates, nothing above
// U+10FFFF.
std::size_t utf8_prefix(std::string_view text) noexcept;

// Throws Error(kConfigError) for words that are none.
TextRule make_text_rule(const InputRule& rule);
TextLimits::Normalize normalize_of(const InputRule& rule);

}  // namespace anya::rules
