// SPDX-License-Identifier: Apache-2.0
#include "integrity/json.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "base/text.h"

namespace anya::integrity {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

void append_utf8(std::uint32_t point, std::string* out) {
  const auto tail = [&](int shift) { *out += static_cast<char>(0x80U | ((point >> shift) & 0x3FU)); };
  if (point < 0x80) {
    *out += static_cast<char>(point);
  } else if (point < 0x800) {
    *out += static_cast<char>(0xC0U | (point >> 6));
    tail(0);
  } else if (point < 0x10000) {
    *out += static_cast<char>(0xE0U | (point >> 12));
    tail(6), tail(0);
  } else {
    *out += static_cast<char>(0xF0U | (point >> 18));
    tail(12), tail(6), tail(0);
  }
}

// Recursive descent; the depth is capped before the stack is.
class Parser {
 public:
  Parser(std::string_view text, const JsonLimits& limits) : text_(text), limits_(limits) {}

  Json run() {
    if (!is_utf8(text_)) throw Malformed("it is not valid UTF-8");
    Json json = value(1);
    skip_space();
    if (at_ != text_.size()) fail("there is something after the end of the value");
    return json;
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw Malformed(what + " (at byte " + std::to_string(at_) + ")");
  }
  [[nodiscard]] char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  void skip_space() {
    while (at_ < text_.size() && (peek() == ' ' || peek() == '\t' || peek() == '\n' || peek() == '\r')) ++at_;
  }
  bool take(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void word(std::string_view expected) {
    if (text_.substr(at_, expected.size()) != expected) fail("there is no JSON value");
    at_ += expected.size();
  }
  void count_node() {
    if (++nodes_ > limits_.max_nodes) fail("it has more values than the limit of " + std::to_string(limits_.max_nodes));
  }

  Json value(std::size_t depth) {
    if (depth > limits_.max_depth) fail("it is nested deeper than the limit of " + std::to_string(limits_.max_depth));
    count_node();
    skip_space();
    Json json;
    switch (peek()) {
      case '{':
        object(depth, &json);
        break;
      case '[':
        array(depth, &json);
        break;
      case '"':
        json.kind = Json::Kind::kString;
        json.text = string();
        break;
      case 't':
        word("true");
        json.kind = Json::Kind::kTrue;
        break;
      case 'f':
        word("false");
        json.kind = Json::Kind::kFalse;
        break;
      case 'n':
        word("null");
        break;
      default:
        json.kind = Json::Kind::kNumber;
        json.text = number();
    }
    return json;
  }

  void object(std::size_t depth, Json* json) {
    json->kind = Json::Kind::kObject;
    ++at_;
    if (take('}')) return;
    do {
      skip_space();
      if (peek() != '"') fail("a member has no name");
      count_node();
      json->names.push_back(string());
      if (!take(':')) fail("a ':' is missing");
      json->items.push_back(value(depth + 1));
    } while (take(','));
    if (!take('}')) fail("a '}' is missing");
    std::vector<std::string_view> sorted(json->names.begin(), json->names.end());
    std::ranges::sort(sorted);
    const auto twice = std::ranges::adjacent_find(sorted);
    if (twice != sorted.end()) fail("an object has the member " + quoted(*twice, 40) + " twice");
  }

  void array(std::size_t depth, Json* json) {
    json->kind = Json::Kind::kArray;
    ++at_;
    if (take(']')) return;
    do {
      json->items.push_back(value(depth + 1));
    } while (take(','));
    if (!take(']')) fail("a ']' is missing");
  }

  std::string number() {
    const std::size_t from = at_;
    const auto digits = [&] {
      if (!is_digit(peek())) fail("there is no JSON value");
      while (is_digit(peek())) ++at_;
    };
    if (peek() == '-') ++at_;
    const bool zero = peek() == '0';
    const std::size_t first = at_;
    digits();
    if (zero && at_ - first > 1) fail("a number begins with a zero");
    if (peek() == '.') {
      ++at_;
      digits();
    }
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      digits();
    }
    return std::string(text_.substr(from, at_ - from));
  }

  std::uint32_t hex4() {
    std::uint32_t unit = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), unit, 16);
    if (digits.size() != 4 || error != std::errc() || end != digits.data() + 4) fail("a \\u escape is broken");
    at_ += 4;
    return unit;
  }

  std::uint32_t unicode_escape() {
    const std::uint32_t unit = hex4();
    if (unit == 0) fail("a string has a NUL");
    if (unit < 0xD800 || unit > 0xDFFF) return unit;
    if (unit > 0xDBFF || text_.substr(at_, 2) != "\\u") fail("half of a surrogate pair is missing");
    at_ += 2;
    const std::uint32_t low = hex4();
    if (low < 0xDC00 || low > 0xDFFF) fail("half of a surrogate pair is missing");
    return 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
  }

  std::string string() {
    std::string out;
    ++at_;
    while (true) {
      if (at_ == text_.size()) fail("a string does not end");
      const char c = text_[at_++];
      if (c == '"') return out;
      if (static_cast<unsigned char>(c) < 0x20) fail("a string has a control character");
      if (out.size() >= limits_.max_string) {
        fail("a string is longer than the limit of " + std::to_string(limits_.max_string) + " bytes");
      }
      if (c != '\\') {
        out += c;
        continue;
      }
      static constexpr std::string_view kEscapes = "\"\\/bfnrt";
      static constexpr std::string_view kMeanings = "\"\\/\b\f\n\r\t";
      const char escape = peek();
      ++at_;
      if (escape == 'u') {
        append_utf8(unicode_escape(), &out);
      } else if (const std::size_t which = kEscapes.find(escape); which != std::string_view::npos) {
        out += kMeanings[which];
      } else {
        fail("a string has an unknown escape");
      }
    }
  }

  std::string_view text_;
  const JsonLimits& limits_;
  std::size_t at_ = 0;
  std::size_t nodes_ = 0;
};

[[noreturn]] void wrong_type(std::string_view name, const char* wanted) {
  throw Malformed("the member " + quoted(name, 40) + " is no " + wanted);
}

const Json& typed(const Json& json, std::string_view name, Json::Kind kind, const char* wanted) {
  const Json& member = json.at(name);
  if (member.kind != kind) wrong_type(name, wanted);
  return member;
}

}  // namespace

const Json* Json::find(std::string_view name) const {
  if (kind != Kind::kObject) throw Malformed("there is no object where " + quoted(name, 40) + " should be");
  const auto found = std::ranges::find(names, name);
  return found == names.end() ? nullptr : &items[static_cast<std::size_t>(found - names.begin())];
}

const Json& Json::at(std::string_view name) const {
  const Json* const member = find(name);
  if (member == nullptr) throw Malformed("the member " + quoted(name, 40) + " is missing");
  return *member;
}

const std::string& Json::string_at(std::string_view name) const {
  return typed(*this, name, Kind::kString, "string").text;
}

std::uint64_t Json::integer_at(std::string_view name) const {
  const std::string& digits = typed(*this, name, Kind::kNumber, "whole number").text;
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size()) wrong_type(name, "whole number");
  return value;
}

const std::vector<Json>& Json::array_at(std::string_view name) const {
  return typed(*this, name, Kind::kArray, "array").items;
}

const Json& Json::object_at(std::string_view name) const { return typed(*this, name, Kind::kObject, "object"); }

void Json::only(std::initializer_list<std::string_view> known) const {
  for (const std::string& name : names) {
    if (std::ranges::find(known, name) == known.end()) {
      throw Malformed("the member " + quoted(name, 40) + " is unknown");
    }
  }
}

Json parse_json(std::string_view text, const JsonLimits& limits) { return Parser(text, limits).run(); }

std::string json_quoted(std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (byte < 0x20) {
      out += {'\\', 'u', '0', '0', kHex[byte >> 4], kHex[byte & 15]};
    } else {
      out += c;
    }
  }
  return out + '"';
}

}  // namespace anya::integrity
