// SPDX-License-Identifier: Apache-2.0
#include "rules/text_rule.h"

#include <string>
#include <vector>

#include "support/check.h"

using anya::ErrorCode;
using anya::InputRule;
using anya::Reason;
using anya::Status;
using namespace anya::rules;

namespace {

// One code point as UTF-8 writes it, surrogates too: who calls knows better.
std::string encoded(std::uint32_t point) {
  std::string text;
  const auto add = [&](std::uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (point < 0x80) {
    add(point);
  } else if (point < 0x800) {
    add(0xC0 | (point >> 6U));
    add(0x80 | (point & 0x3FU));
  } else if (point < 0x10000) {
    add(0xE0 | (point >> 12U));
    add(0x80 | ((point >> 6U) & 0x3FU));
    add(0x80 | (point & 0x3FU));
  } else {
    add(0xF0 | (point >> 18U));
    add(0x80 | ((point >> 12U) & 0x3FU));
    add(0x80 | ((point >> 6U) & 0x3FU));
    add(0x80 | (point & 0x3FU));
  }
  return text;
}

Status check(const InputRule& rule, const std::vector<std::string_view>& texts) {
  return make_text_rule(rule).check(texts);
}

}  // namespace

TEST(Utf8, EveryCodePointIsTakenAndEverySurrogateIsNot) {
  for (std::uint32_t point = 0; point <= 0x10FFFF; ++point) {
    const std::string text = encoded(point);
    const bool surrogate = point >= 0xD800 && point <= 0xDFFF;
    if (utf8_prefix(text) != (surrogate ? 0 : text.size())) {
      EXPECT_EQ(point, ~point);  // once is enough to read
      return;
    }
  }
}

TEST(Utf8, WhatIsNotIsFoundAtItsFirstByte) {
  const struct {
    std::string text;
    std::size_t good;
  } cases[] = {
      {"\xC0\x80", 0},               // overlong NUL
      {"\xC1\xBF", 0},               // overlong DEL
      {"\xE0\x9F\xBF", 0},           // overlong three bytes
      {"\xF0\x8F\xBF\xBF", 0},       // overlong four bytes
      {"\xF4\x90\x80\x80", 0},       // above U+10FFFF
      {"\xF5\x80\x80\x80", 0},       // no lead at all
      {"\x80", 0},                   // a follower by itself
      {"ab\xC3", 2},                 // cut off
      {"ab\xE2\x82", 2},             // cut off
      {"abcdefgh\xF0\x9F\xA6", 8},   // cut off after eight plain bytes
      {"abcdefghi\xFFqrstuvwx", 9},  // in the middle of plain bytes
      {"\xC3\xA9\xE2\x82\xC3", 2},   // a follower that is none
      {"\xF0\x9F\x41\x80", 0},       // the third byte is none
      {std::string(64, 'x') + "\xFF", 64},
  };
  for (const auto& each : cases) EXPECT_EQ(each.good, utf8_prefix(each.text));
}

TEST(TextRule, WithoutARuleTextIsUtf8WithoutNul) {
  const TextRule rule;
  const std::string_view nul("a\0b", 3);
  const std::vector<std::string_view> texts{"fine", nul};
  const Status status = rule.check(texts);
  EXPECT_EQ(Reason::kTextControl, status.reason);
  EXPECT_EQ(1, status.index);
  EXPECT_EQ(0, status.value);
  const std::vector<std::string_view> wrong{"fine", "", "a\xFF"};
  EXPECT_EQ(Reason::kTextNotUtf8, rule.check(wrong).reason);
  EXPECT_EQ(2, rule.check(wrong).index);
  EXPECT_EQ(1, rule.check(wrong).value);
  const std::vector<std::string_view> bell{"\a\x1b[0m"};
  EXPECT_TRUE(rule.check(bell).ok());
}

TEST(TextRule, ARuleRefusesControlCharactersButNotEndsOfLines) {
  const InputRule rule;
  EXPECT_TRUE(check(rule, {"tab\tline\nreturn\r", "\xC2\xA0", "\xC3\x80"}).ok());
  EXPECT_EQ(7, check(rule, {"\a"}).value);
  EXPECT_EQ(0x7F, check(rule, {"a\x7F"}).value);
  EXPECT_EQ(0x85, check(rule, {"a\xC2\x85"}).value);  // next line, a C1 control
  InputRule allow;
  allow.control = "allow";
  EXPECT_TRUE(check(allow, {"\a", std::string_view("\0", 1)}).ok());
}

TEST(TextRule, LengthIsInCharactersAndSizeInBytesOfAll) {
  InputRule rule;
  rule.max_length = 2;
  EXPECT_TRUE(check(rule, {"\xC3\xA9\xC3\xA9", "\xF0\x9F\xA6\x86", ""}).ok());
  const Status longer = check(rule, {"ok", "\xC3\xA9\xC3\xA9\xC3\xA9"});
  EXPECT_EQ(Reason::kTextTooLong, longer.reason);
  EXPECT_EQ(1, longer.index);
  EXPECT_EQ(3, longer.value);
  EXPECT_EQ(2, longer.limit);
  InputRule bytes;
  bytes.max_bytes = 4;
  EXPECT_TRUE(check(bytes, {"ab", "cd"}).ok());
  const Status larger = check(bytes, {"ab", "cde"});
  EXPECT_EQ(ErrorCode::kInputTooLarge, larger.code);
  EXPECT_EQ(5, larger.value);
}

TEST(TextRule, BytesMayPassWhereTheRuleSaysSo) {
  InputRule rule;
  rule.utf8 = false;
  EXPECT_TRUE(check(rule, {"\xFF\xFE"}).ok());
}

TEST(TextRule, WordsThatAreNoneAreRefused) {
  InputRule rule;
  rule.control = "maybe";
  EXPECT_ERROR(ErrorCode::kConfigError, make_text_rule(rule));
  rule.control = "allow";
  rule.normalize = "nfd";
  EXPECT_ERROR(ErrorCode::kConfigError, make_text_rule(rule));
}
