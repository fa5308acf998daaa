// SPDX-License-Identifier: Apache-2.0
#include "integrity/sha256.h"

#include <string>

#include "support/check.h"

using anya::integrity::CryptoContext;
using anya::integrity::Sha256;
using anya::integrity::to_hex;

namespace {

std::string hex_of(const CryptoContext& context, std::string_view text) {
  return to_hex(anya::integrity::sha256(context, std::as_bytes(std::span(text.data(), text.size()))));
}

}  // namespace

TEST(Sha256, GivesTheStandardsOwnVectors) {
  const CryptoContext context;
  EXPECT_EQ(hex_of(context, ""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(hex_of(context, "abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex_of(context, "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(hex_of(context, std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesGiveWhatTheWholeGives) {
  const CryptoContext context;
  Sha256 hash(context);
  hash.update("a");
  hash.update("");
  hash.update("bc");
  EXPECT_EQ(to_hex(hash.finish()), hex_of(context, "abc"));
}

TEST(Sha256, TwoContextsAreIndependent) {
  const CryptoContext kept;
  for (int i = 0; i < 20; ++i) {
    const CryptoContext passing;
    EXPECT_EQ(hex_of(passing, "abc"), hex_of(kept, "abc"));
  }
}
