// SPDX-License-Identifier: Apache-2.0
//
// The test harness of the C++ tests: GoogleTest's macro names in one header, so that a fresh machine needs no package.
// TEST(Suite, Fact) { EXPECT_EQ(expected, actual); }   int main comes from here: one test file is one program.
// Usage of the program: no arguments runs all; an argument runs the tests whose "Suite.Fact" contains it.
#pragma once

#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

namespace anya::test {

struct Case {
  const char* suite;
  const char* fact;
  void (*body)();
};
inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}
inline std::atomic<int>& failures() {
  static std::atomic<int> count{0};
  return count;
}
struct Register {
  Register(const char* suite, const char* fact, void (*body)()) { cases().push_back({suite, fact, body}); }
};
struct Fatal {};  // thrown by ASSERT_*: ends the test, is already counted

template <typename T>
std::string show(const T& value) {
  std::ostringstream out;
  if constexpr (std::is_enum_v<T>) {
    out << static_cast<long long>(value);
  } else if constexpr (requires { out << value; }) {
    out << value;
  } else {
    out << "(unprintable)";
  }
  return out.str();
}
inline void fail(const char* file, int line, const std::string& what) {
  failures().fetch_add(1);
  std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
}
inline void fail(const char* file, int line, std::string text, const std::string& left, const std::string& right) {
  fail(file, line, text.append("\n  left:  ").append(left).append("\n  right: ").append(right));
}
// Not std::equal_to: comparing what has a sign with what has none would go unsaid in a system header.
struct Equal {
  bool operator()(const auto& a, const auto& b) const { return a == b; }
};
struct Differ {
  bool operator()(const auto& a, const auto& b) const { return a != b; }
};
struct Less {
  bool operator()(const auto& a, const auto& b) const { return a < b; }
};
struct AtMost {
  bool operator()(const auto& a, const auto& b) const { return a <= b; }
};
struct Greater {
  bool operator()(const auto& a, const auto& b) const { return a > b; }
};
struct AtLeast {
  bool operator()(const auto& a, const auto& b) const { return a >= b; }
};
template <typename Op, typename A, typename B>
bool compare(const A& a, const B& b, const char* text, const char* file, int line) {
  if (Op()(a, b)) return true;
  fail(file, line, text, show(a), show(b));
  return false;
}
inline int run_all(int argc, char** argv) {
  int ran = 0;
  int failed = 0;
  for (const Case& test : cases()) {
    const std::string name = std::string(test.suite) + "." + test.fact;
    if (argc > 1 && name.find(argv[1]) == std::string::npos) continue;
    ++ran;
    const int before = failures().load();
    try {
      test.body();
    } catch (const Fatal&) {
    } catch (const std::exception& error) {
      fail(name.c_str(), 0, std::string("uncaught: ") + error.what());
    }
    if (failures().load() != before) {
      ++failed;
      std::fprintf(stderr, "FAILED %s\n", name.c_str());
    }
  }
  std::printf("%d passed, %d failed\n", ran - failed, failed);
  return failed == 0 && ran > 0 ? 0 : 1;
}

}  // namespace anya::test

#define TEST(suite, fact)                                                                                        \
  static void anya_test_##suite##_##fact();                                                                      \
  static const ::anya::test::Register anya_register_##suite##_##fact(#suite, #fact, anya_test_##suite##_##fact); \
  static void anya_test_##suite##_##fact()

#define ANYA_COMPARE(a, b, op, sign) \
  ::anya::test::compare<::anya::test::op>((a), (b), #a " " #sign " " #b, __FILE__, __LINE__)
#define EXPECT_EQ(a, b) ANYA_COMPARE(a, b, Equal, ==)
#define EXPECT_NE(a, b) ANYA_COMPARE(a, b, Differ, !=)
#define EXPECT_LT(a, b) ANYA_COMPARE(a, b, Less, <)
#define EXPECT_LE(a, b) ANYA_COMPARE(a, b, AtMost, <=)
#define EXPECT_GT(a, b) ANYA_COMPARE(a, b, Greater, >)
#define EXPECT_GE(a, b) ANYA_COMPARE(a, b, AtLeast, >=)
#define EXPECT_TRUE(a) ((a) ? true : (::anya::test::fail(__FILE__, __LINE__, "not true: " #a), false))
#define EXPECT_FALSE(a) EXPECT_TRUE(!(a))
#define ASSERT_TRUE(a) \
  if (!EXPECT_TRUE(a)) throw ::anya::test::Fatal()
#define ASSERT_EQ(a, b) \
  if (!EXPECT_EQ(a, b)) throw ::anya::test::Fatal()
// The statement must throw anya::Error with this code.
#define EXPECT_ERROR(expected_code, statement)                                                                    \
  do {                                                                                                            \
    try {                                                                                                         \
      statement;                                                                                                  \
      ::anya::test::fail(__FILE__, __LINE__, "nothing thrown by " #statement);                                    \
    } catch (const ::anya::Error& error) {                                                                        \
      if (error.code() != (expected_code))                                                                        \
        ::anya::test::fail(__FILE__, __LINE__,                                                                    \
                           std::string("wrong code: ") + ::anya::test::show(error.code()) + ", " + error.what()); \
    }                                                                                                             \
  } while (false)

int main(int argc, char** argv) { return ::anya::test::run_all(argc, argv); }
