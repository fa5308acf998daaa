// SPDX-License-Identifier: Apache-2.0
#include "integrity/json.h"

#include "integrity/base64.h"
#include "support/check.h"

using anya::integrity::base64;
using anya::integrity::from_base64;
using anya::integrity::Json;
using anya::integrity::json_quoted;
using anya::integrity::JsonLimits;
using anya::integrity::Malformed;
using anya::integrity::parse_json;

namespace {

// "" if it is taken, else why not.
std::string refusal(std::string_view text, const JsonLimits& limits = {}) {
  try {
    parse_json(text, limits);
    return "";
  } catch (const Malformed& fault) {
    return fault.what();
  }
}
std::string base64_refusal(std::string_view text) {
  try {
    from_base64(text);
    return "";
  } catch (const Malformed& fault) {
    return fault.what();
  }
}
bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

}  // namespace

TEST(Json, ReadsWhatTheStandardAllows) {
  const Json json = parse_json(
      " {\"a\" : [1, -0.5e+3, true, false, null, {}, []],\n\t\"\\u00e9\\ud83d\\ude00\\n\":\"\xc3\xa9\"} \r\n");
  EXPECT_EQ(json.names, (std::vector<std::string>{"a", "\xc3\xa9\xf0\x9f\x98\x80\n"}));
  EXPECT_EQ(json.array_at("a").size(), 7u);
  EXPECT_EQ(json.array_at("a")[1].text, "-0.5e+3");
  EXPECT_EQ(json.items[1].text, "\xc3\xa9");
  EXPECT_EQ(refusal("0"), "");
  EXPECT_EQ(refusal("\"\""), "");
}

TEST(Json, RefusesWhatTheStandardDoesNotAllow) {
  for (const char* text : {"",         " ",          "{",         "}",           "[1,]",
                           "[,1]",     "{\"a\":1,}", "{a:1}",     "{\"a\"}",     "{\"a\":}",
                           "{1:2}",    "[1 2]",      "01",        "-",           "+1",
                           "1.",       ".5",         "1e",        "0x1",         "NaN",
                           "Infinity", "-Infinity",  "tru",       "nul",         "'a'",
                           "\"a",      "\"\\x\"",    "\"\\u12\"", "\"\\u+123\"", "\"a\nb\"",
                           "// c\n1",  "/* c */ 1",  "1 1",       "{} {}",       "\xef\xbb\xbf{}",
                           "[1}",      "{\"a\":1]"}) {
    if (refusal(text).empty()) anya::test::fail(__FILE__, __LINE__, std::string("taken: ") + text);
  }
}

TEST(Json, RefusesTextThatCanBeReadInTwoWays) {
  EXPECT_TRUE(has(refusal("{\"a\":1,\"b\":2,\"a\":1}"), "'a' twice"));
  EXPECT_TRUE(has(refusal("{\"a\":1,\"\\u0061\":2}"), "twice"));  // the same name, written otherwise
  EXPECT_TRUE(has(refusal("\"\\u0000\""), "NUL"));
  for (const char* text : {"\"\\ud800\"", "\"\\udc00\"", "\"\\ud800x\"", "\"\\ud800\\u0041\"", "\"\\ud800\\ud800\""}) {
    EXPECT_TRUE(has(refusal(text), "surrogate"));
  }
  for (const char* text : {"\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", "\"\xf5\x80\x80\x80\""}) {
    EXPECT_TRUE(has(refusal(text), "UTF-8"));
  }
}

TEST(Json, LimitsAreHeldBeforeTheStackIs) {
  EXPECT_TRUE(has(refusal(std::string(200'000, '[')), "nested deeper than the limit of 32"));
  EXPECT_EQ(refusal(std::string(32, '[') + std::string(32, ']')), "");
  EXPECT_TRUE(has(refusal(std::string(33, '[') + std::string(33, ']')), "nested"));
  JsonLimits limits;
  limits.max_nodes = 4;
  limits.max_string = 3;
  EXPECT_EQ(refusal("[1,2,3]", limits), "");
  EXPECT_TRUE(has(refusal("[1,2,3,4]", limits), "more values"));
  EXPECT_TRUE(has(refusal("{\"a\":1,\"b\":2}", limits), "more values"));
  EXPECT_EQ(refusal("\"abc\"", limits), "");
  EXPECT_TRUE(has(refusal("\"abcd\"", limits), "longer"));
}

TEST(Json, EveryAccessChecksTheType) {
  const Json json =
      parse_json("{\"s\":\"x\",\"n\":7,\"f\":7.0,\"m\":-1,\"big\":18446744073709551616,\"a\":[],\"o\":{}}");
  EXPECT_EQ(json.integer_at("n"), 7u);
  for (const char* name : {"s", "f", "m", "big", "a", "missing"}) {
    bool refused = false;
    try {
      static_cast<void>(json.integer_at(name));
    } catch (const Malformed&) {
      refused = true;
    }
    EXPECT_TRUE(refused);
  }
  using Access = void (*)(const Json&);
  for (const Access wrong : {Access([](const Json& j) { static_cast<void>(j.string_at("n")); }),
                             Access([](const Json& j) { static_cast<void>(j.array_at("o")); }),
                             Access([](const Json& j) { static_cast<void>(j.object_at("a")); }),
                             Access([](const Json& j) { static_cast<void>(j.at("a").find("x")); }),
                             Access([](const Json& j) { j.only({"s", "n"}); })}) {
    bool refused = false;
    try {
      wrong(json);
    } catch (const Malformed&) {
      refused = true;
    }
    EXPECT_TRUE(refused);
  }
}

TEST(Json, WhatIsQuotedIsReadBack) {
  const std::string text = "a\"b\\c\n\x01\x7f\xc3\xa9";
  EXPECT_EQ(parse_json(json_quoted(text)).text, text);
}

TEST(Base64, HasOneTextForEveryContent) {
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
  for (const char* text : {"f", "fo", "foo", "\xff\xfe\xfd", ""}) EXPECT_EQ(from_base64(base64(text)), text);
  for (const char* text : {"Zg", "Zg=", "Zg===", "Z===", "====", "Zm9v\n", " Zm9v", "Zm9v====", "Zg==Zg==", "Zm9_",
                           "Zm9-", "Zm!v", "Zh==", "Zm9=", "Zg=v"}) {
    if (base64_refusal(text).empty()) anya::test::fail(__FILE__, __LINE__, std::string("taken: ") + text);
  }
}
