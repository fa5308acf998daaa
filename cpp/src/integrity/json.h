// SPDX-License-Identifier: Apache-2.0
//
// JSON that an attacker may have written, read strictly (RFC 8259 and less): no key twice, no invalid UTF-8, no lone
// surrogate, no NUL, nothing before or after the value, and caps on depth, nodes and text. Pure; thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace anya::integrity {

// The text is not what it should be; the sentence says where and why. Whoever knows the file makes an Error of it.
struct Malformed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct JsonLimits {
  std::size_t max_depth = 32;
  std::size_t max_nodes = 500'000;  // values and names together
  std::size_t max_string = std::size_t{64} << 10;
};

// A value. Every access checks the type and throws Malformed, so that nothing is taken for what it is not.
struct Json {
  enum class Kind : std::uint8_t { kNull, kFalse, kTrue, kNumber, kString, kArray, kObject };

  Kind kind = Kind::kNull;
  std::string text;                // the characters of a string; a number as it is written
  std::vector<std::string> names;  // of an object's members, each once
  std::vector<Json> items;         // their values, or an array's

  [[nodiscard]] const Json* find(std::string_view name) const;  // null: no such member
  [[nodiscard]] const Json& at(std::string_view name) const;
  [[nodiscard]] const std::string& string_at(std::string_view name) const;
  [[nodiscard]] std::uint64_t integer_at(std::string_view name) const;
  [[nodiscard]] const std::vector<Json>& array_at(std::string_view name) const;
  [[nodiscard]] const Json& object_at(std::string_view name) const;
  // No member but these.
  void only(std::initializer_list<std::string_view> known) const;
};

// Throws Malformed.
Json parse_json(std::string_view text, const JsonLimits& limits = {});

// A string as JSON writes it, in quotes. REQUIRES: valid UTF-8.
std::string json_quoted(std::string_view text);

}  // namespace anya::integrity
