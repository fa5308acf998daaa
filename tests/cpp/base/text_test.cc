// SPDX-License-Identifier: Apache-2.0
#include "base/text.h"

#include "support/check.h"

TEST(Text, Utf8IsStrict) {
  for (const char* good : {"", "a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x99\x82", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(anya::is_utf8(good));
  }
  for (const char* bad : {"\x80", "\xC0\xAF", "\xC1\xBF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                          "\xF5\x80\x80\x80", "\xE2\x82", "\xFF", "a\xC3"}) {
    EXPECT_FALSE(anya::is_utf8(bad));
  }
}

TEST(Text, QuotedCannotForgeALine) {
  EXPECT_EQ(anya::quoted("a\nb"), "'a\\x0ab'");
  EXPECT_EQ(anya::quoted("it's\\"), "'it\\x27s\\x5c'");
  EXPECT_EQ(anya::quoted("\xFF"), "'\\xff'");
  EXPECT_EQ(anya::quoted("abcdef", 6), "'abcdef'");
  EXPECT_EQ(anya::quoted("abcdef", 3), "'ab...f'");
}
