// SPDX-License-Identifier: Apache-2.0
#include "integrity/bundle.h"

#include <utility>

#include "integrity/base64.h"
#include "integrity/signed_statements.h"
#include "support/check.h"

using namespace anya::integrity;
using anya::Error;
using anya::ErrorCode;
using anya::test::hash_of;
using anya::test::statement;
using anya::test::with;

namespace {

struct Rig {
  CryptoContext context;
  PrivateKey key = PrivateKey::generate(context, "P-256");
  std::vector<PublicKey> keys{key.public_key()};
  std::string good = statement(context);
  std::string bundle = sign_statement(good, key);

  [[nodiscard]] std::string verdict(const std::string& text) const {
    try {
      verify_bundle(context, text, keys);
      return "OK";
    } catch (const Error& error) {
      return std::string(anya::code_name(error.code()));
    }
  }
  [[nodiscard]] std::string signed_verdict(const std::string& payload) const {
    return verdict(sign_statement(payload, key));
  }
};

// A file of a statement, as it is written there.
std::string entry(const CryptoContext& context, const char* name, const char* content) {
  return std::string("{\"name\":\"") + name + "\",\"digest\":\"" + hash_of(context, content) +
         "\",\"algorithm\":\"sha256\"}";
}

}  // namespace

TEST(Bundle, WhatIsSignedIsVerifiedOnEveryCurve) {
  Rig rig;
  EXPECT_EQ(rig.verdict(rig.bundle), "OK");
  const VerifiedManifest verified = verify_bundle(rig.context, rig.bundle, rig.keys);
  EXPECT_EQ(verified.signer, rig.key.public_key().id());
  ASSERT_EQ(verified.manifest.files.size(), 2u);
  EXPECT_EQ(verified.manifest.find("w/a.bin")->sha256, hash_of(rig.context, "weights"));
  EXPECT_TRUE(verified.manifest.find("w") == nullptr);
  for (const char* curve : {"P-384", "P-521"}) {
    rig.key = PrivateKey::generate(rig.context, curve);
    rig.keys.push_back(rig.key.public_key());
    EXPECT_EQ(rig.signed_verdict(rig.good), "OK");
  }
}

TEST(Bundle, ThePreAuthenticationEncodingIsTheStandardsOwn) {
  EXPECT_EQ(pae_head("http://example.com/HelloWorld", 11) + "hello world",
            "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
}

TEST(Bundle, AnySingleBitOfPayloadOrSignatureCounts) {
  const Rig rig;
  const std::string head = pae_head(kStatementType, rig.good.size());
  const std::string signature = rig.key.sign(head, rig.good);
  const PublicKey& key = rig.key.public_key();
  EXPECT_TRUE(key.verifies(signature, head, rig.good));
  for (std::size_t i = 0; i < rig.good.size(); i += 7) {
    std::string broken = rig.good;
    broken[i] = static_cast<char>(broken[i] ^ 1);
    EXPECT_FALSE(key.verifies(signature, head, broken));
  }
  for (std::size_t i = 0; i < signature.size(); ++i) {
    std::string broken = signature;
    broken[i] = static_cast<char>(broken[i] ^ 1);
    EXPECT_FALSE(key.verifies(broken, head, rig.good));
  }
  EXPECT_FALSE(key.verifies(signature, with(head, "DSSEv1", "DSSEv2"), rig.good));
}

TEST(Bundle, SignaturesThatAreNoneAreRefused) {
  const Rig rig;
  const std::string head = pae_head(kStatementType, rig.good.size());
  const std::string good = rig.key.sign(head, rig.good);
  const std::string zero("\x30\x06\x02\x01\x00\x02\x01\x00", 8);  // r = s = 0
  const std::string one("\x30\x06\x02\x01\x01\x02\x01\x01", 8);
  // r and s of the group's order and of one more: congruent to 0 and 1.
  const std::string order(
      "\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xbc\xe6\xfa\xad\xa7\x17\x9e\x84\xf3\xb9\xca\xc2"
      "\xfc\x63\x25\x51",
      32);
  std::string past = order;
  past.back() = '\x52';
  const auto pair = [](const std::string& r, const std::string& s) {
    const auto integer = [](const std::string& x) { return std::string("\x02\x21\x00", 3) + x; };
    return std::string("\x30\x46", 2) + integer(r) + integer(s);
  };
  for (const std::string& each :
       {std::string(), zero, one, pair(order, order), pair(past, past), good + '\0', good.substr(0, good.size() - 1),
        std::string(good).replace(1, 1, "\x81"), good + good, std::string(64, '\0')}) {
    EXPECT_FALSE(rig.key.public_key().verifies(each, head, rig.good));
  }
  // The same r and s, with a length written in two bytes instead of one: not DER.
  std::string ber = good;
  ber.insert(1, "\x81");
  EXPECT_FALSE(rig.key.public_key().verifies(ber, head, rig.good));
}

TEST(Bundle, AKeyNobodyTrustsAndAHintThatLiesAreRefused) {
  Rig rig;
  const PrivateKey other = PrivateKey::generate(rig.context, "P-256");
  EXPECT_EQ(rig.verdict(sign_statement(rig.good, other)), "UNTRUSTED_KEY");
  const std::string lie = with(sign_statement(rig.good, other), other.public_key().id(), rig.key.public_key().id());
  EXPECT_EQ(rig.verdict(lie), "SIGNATURE_INVALID");
  rig.keys.push_back(PrivateKey::generate(rig.context, "P-384").public_key());
  const std::string wrong_curve = with(rig.bundle, rig.keys[0].id(), rig.keys[1].id());
  EXPECT_EQ(rig.verdict(wrong_curve), "SIGNATURE_INVALID");
  rig.keys.clear();
  EXPECT_EQ(rig.verdict(rig.bundle), "UNTRUSTED_KEY");
}

TEST(Bundle, ASignatureOverAnotherKindOfDocumentIsNone) {
  const Rig rig;
  const std::string type = "application/vnd.other+json";
  // Properly signed under another type, and then as if that type were ours.
  const std::size_t from = rig.bundle.find("\"dsseEnvelope\":") + 15;
  const std::string front = rig.bundle.substr(0, from);
  const std::string signature = sign_payload(rig.key, type, rig.good);
  EXPECT_EQ(rig.verdict(front + envelope_text(type, rig.good, {{signature, ""}}) + "}"), "SIGNATURE_MALFORMED");
  EXPECT_EQ(rig.verdict(front + envelope_text(kStatementType, rig.good, {{signature, ""}}) + "}"), "SIGNATURE_INVALID");
  // The encoding of an earlier version of the format.
  const std::string old = rig.key.sign(
      "DSSEV1 28 b'" + std::string(kStatementType) + "' " + std::to_string(rig.good.size()) + " b'", rig.good + "'");
  EXPECT_EQ(rig.verdict(front + envelope_text(kStatementType, rig.good, {{old, ""}}) + "}"), "SIGNATURE_INVALID");
  // No type at all.
  const std::string bare = rig.key.sign("", rig.good);
  EXPECT_EQ(rig.verdict(front + envelope_text(kStatementType, rig.good, {{bare, ""}}) + "}"), "SIGNATURE_INVALID");
}

TEST(Bundle, AnEnvelopeThatIsNotCanonicalIsMalformed) {
  const Rig rig;
  const std::string hint = "{\"hint\":\"" + rig.key.public_key().id() + "\"}";
  const std::string sig =
      rig.bundle.substr(rig.bundle.find("{\"sig\":"), rig.bundle.find("]}}") - rig.bundle.find("{\"sig\":"));
  const std::pair<std::string, std::string> changes[] = {
      {"v0.3+json", "v0.2+json"},
      {"\"mediaType\":", "\"mediatype\":"},
      {"{\"mediaType\"", "{\"extra\":1,\"mediaType\""},
      {"\"dsseEnvelope\":", "\"dsseEnvelope\":{},\"dsseEnvelope\":"},
      {hint, "{}"},
      {hint, "{\"rawBytes\":\"\"}"},
      {"\"publicKey\":" + hint, "\"publicKey\":" + hint + ",\"certificate\":{\"rawBytes\":\"\"}"},
      {"\"publicKey\":" + hint + ",", ""},
      {"\"tlogEntries\":[]", "\"tlogEntries\":[{}]"},
      {sig, ""},
      {sig, sig + "," + sig},
      {"\"payload\":\"", "\"payload\":\"\\n"},
      {"\"payload\":\"", "\"payload\":\"!*"},
      {"\"keyid\":\"\"", "\"keyid\":7"},
      {"\"keyid\":\"\"", "\"keyid\":\"\",\"cert\":\"\""},
      {"\"verificationMaterial\":{", "\"verificationMaterial\":[{"},
  };
  for (const auto& [part, instead] : changes) {
    const std::string verdict = rig.verdict(with(rig.bundle, part, instead));
    if (verdict != "SIGNATURE_MALFORMED")
      anya::test::fail(__FILE__, __LINE__, verdict + " for " + part + " -> " + instead);
  }
  for (const std::string& text : {std::string(), std::string("{}"), std::string("null"), rig.bundle + "x",
                                  rig.bundle.substr(0, rig.bundle.size() / 2), std::string(200'000, '[')}) {
    EXPECT_EQ(rig.verdict(text), "SIGNATURE_MALFORMED");
  }
  const std::string chain = with(rig.bundle, "\"publicKey\":" + hint, "\"x509CertificateChain\":{\"certificates\":[]}");
  EXPECT_EQ(rig.verdict(chain), "UNTRUSTED_KEY");
  EXPECT_EQ(rig.verdict(with(rig.bundle, "\"keyid\":\"\"", "\"keyid\":null")), "OK");
}

TEST(Bundle, AStatementThatIsNotWholeIsMalformedThoughItIsSigned) {
  const Rig rig;
  const std::string model = entry(rig.context, "model.onnx", "graph");
  const std::string weights = entry(rig.context, "w/a.bin", "weights");
  const std::string root = rig.good.substr(rig.good.find("\"sha256\":\"") + 10, 64);
  const std::pair<std::string, std::string> changes[] = {
      {"in-toto.io/Statement/v1", "in-toto.io/Statement/v0.1"},
      {"model_signing/signature/v1.0", "model_signing/Digests/v0.1"},
      {"\"_type\":", "\"type\":"},
      {"{\"_type\":", "{\"extra\":NaN,\"_type\":"},
      {"{\"_type\":", "{\"_type\":\"x\",\"_type\":"},
      {"\"subject\":[{", "\"subject\":[],\"subject2\":[{"},
      {"\"subject\":[", "\"subject\":[{\"name\":\"n\",\"digest\":{\"sha256\":\"" + root + "\"}},"},
      {root, std::string(64, '0')},
      {model + "," + weights, ""},
      {model, model + "," + model},
      {model, with(model, "model.onnx", "./model.onnx")},
      {model, with(model, "model.onnx", "../model.onnx")},
      {model, with(model, "model.onnx", "/model.onnx")},
      {model, with(model, "model.onnx", "a//b")},
      {model, with(model, "model.onnx", "a\\\\b")},
      {model, with(model, "model.onnx", "a\\u0001b")},
      {model, with(model, "model.onnx", "a\\u0000b")},
      {model, with(model, "model.onnx", "\\ud800")},
      {model, with(model, "model.onnx", std::string(10'240, 'x'))},
      {model, with(model, "model.onnx", ".")},
      {model, with(model, hash_of(rig.context, "graph"), "ABCDEF")},
      {hash_of(rig.context, "graph"), std::string(64, 'A')},
      {"\"allow_symlinks\":false", "\"allow_symlinks\":true"},
      {"\"allow_symlinks\":false,", ""},
      {"\"hash_type\":", "\"shard_size\":1,\"hash_type\":"},
      {"\"ignore_paths\":[", "\"ignore_paths\":[1,"},
      {"\"resources\":[", "\"resources\":{},\"r\":["},
      {"\"predicate\":{", "\"predicate\":[],\"p\":{"},
  };
  for (const auto& [part, instead] : changes) {
    const std::string verdict = rig.signed_verdict(with(rig.good, part, instead));
    if (verdict != "SIGNATURE_MALFORMED")
      anya::test::fail(__FILE__, __LINE__, verdict + " for " + part + " -> " + instead);
  }
  for (const std::string& text : {"\xef\xbb\xbf" + rig.good, rig.good + "x", rig.good.substr(1), std::string("[]"),
                                  with(rig.good, "\"m\"", "\"\xff\"")}) {
    EXPECT_EQ(rig.signed_verdict(text), "SIGNATURE_MALFORMED");
  }
  // What the format has and we do not take is said to be that.
  EXPECT_EQ(rig.signed_verdict(with(rig.good, "\"method\":\"files\"", "\"method\":\"shards\"")), "TRUST_ERROR");
  EXPECT_EQ(rig.signed_verdict(with(rig.good, "\"hash_type\":\"sha256\"", "\"hash_type\":\"blake3\"")), "TRUST_ERROR");
  EXPECT_EQ(rig.signed_verdict(with(rig.good, "\"algorithm\":\"sha256\"", "\"algorithm\":\"sha1\"")), "TRUST_ERROR");
}

TEST(Bundle, FilesMayBeListedInAnyOrderThatTheirSumFollows) {
  const Rig rig;
  const std::string model = entry(rig.context, "model.onnx", "graph");
  const std::string weights = entry(rig.context, "w/a.bin", "weights");
  const std::string swapped = with(rig.good, model + "," + weights, weights + "," + model);
  EXPECT_EQ(rig.signed_verdict(swapped), "SIGNATURE_MALFORMED");
  Sha256 hash(rig.context);
  for (const char* content : {"weights", "graph"}) hash.update(from_hex(hash_of(rig.context, content)));
  const std::string root = rig.good.substr(rig.good.find("\"sha256\":\"") + 10, 64);
  EXPECT_EQ(rig.signed_verdict(with(swapped, root, to_hex(hash.finish()))), "OK");
}

TEST(Bundle, WhatItsSignerIgnoredChangesNothing) {
  const Rig rig;
  EXPECT_EQ(rig.signed_verdict(with(rig.good, "\"ignore_paths\":[", "\"ignore_paths\":[\".\",\"w\",")), "OK");
}
