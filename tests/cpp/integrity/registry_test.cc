// SPDX-License-Identifier: Apache-2.0
#include "integrity/registry.h"

#include "integrity/registry_floor.h"
#include "integrity/signed_statements.h"
#include "integrity/small_file.h"
#include "support/check.h"
#include "support/temp_dir.h"

using namespace anya::integrity;
using anya::Error;
using anya::ErrorCode;
using anya::test::hash_of;
using anya::test::registry_payload;
using anya::test::with;

namespace {

struct Rig {
  CryptoContext context;
  std::string file = hash_of(context, "graph");
  std::string digest = model_digest(context, std::vector<RegisteredFile>{{"model.onnx", 5, file}});
  std::string good = registry_payload(digest, file);
  PrivateKey one = PrivateKey::generate(context, "P-256");
  PrivateKey two = PrivateKey::generate(context, "P-384");
  PrivateKey stranger = PrivateKey::generate(context, "P-256");

  [[nodiscard]] std::string verdict(const std::string& payload, std::string_view name = "ranker",
                                    const std::string& signer = "") const {
    try {
      check_registered(parse_registry(context, payload), name, digest, signer);
      return "OK";
    } catch (const Error& error) {
      return std::string(anya::code_name(error.code()));
    }
  }
  [[nodiscard]] EnvelopeSignature by(const PrivateKey& key) const {
    return {sign_payload(key, kRegistryType, good), key.public_key().id()};
  }
  [[nodiscard]] std::string signed_verdict(const std::vector<EnvelopeSignature>& signatures, std::size_t threshold,
                                           std::vector<PublicKey> roots) const {
    try {
      read_registry(context, envelope_text(kRegistryType, good, signatures), roots, threshold);
      return "OK";
    } catch (const Error& error) {
      return std::string(anya::code_name(error.code()));
    }
  }
};

}  // namespace

TEST(Registry, KOfNKeysMustSignAndOneKeyIsOne) {
  const Rig rig;
  const std::vector<PublicKey> roots{rig.one.public_key(), rig.two.public_key()};
  EXPECT_EQ(rig.signed_verdict({rig.by(rig.one)}, 1, roots), "OK");
  EXPECT_EQ(rig.signed_verdict({rig.by(rig.one), rig.by(rig.two)}, 2, roots), "OK");
  EXPECT_EQ(rig.signed_verdict({rig.by(rig.one)}, 2, roots), "UNTRUSTED_KEY");
  EXPECT_EQ(rig.signed_verdict({rig.by(rig.one), rig.by(rig.one)}, 2, roots), "UNTRUSTED_KEY");
  EXPECT_EQ(rig.signed_verdict({rig.by(rig.one), rig.by(rig.stranger)}, 2, roots), "UNTRUSTED_KEY");
  // The same key configured twice is one key.
  EXPECT_EQ(rig.signed_verdict({rig.by(rig.one)}, 2, {rig.one.public_key(), rig.one.public_key()}), "UNTRUSTED_KEY");
  // The key's name beside a signature decides nothing.
  EXPECT_EQ(rig.signed_verdict({{rig.by(rig.stranger).signature, rig.one.public_key().id()}}, 1, roots),
            "UNTRUSTED_KEY");
  EXPECT_EQ(rig.signed_verdict({{rig.by(rig.one).signature, "whatever"}}, 1, roots), "OK");
  EXPECT_EQ(rig.signed_verdict({}, 1, roots), "SIGNATURE_MALFORMED");
}

TEST(Registry, ASignatureOverAModelIsNoneOverARegistry) {
  const Rig rig;
  const EnvelopeSignature foreign{sign_payload(rig.one, kStatementType, rig.good), ""};
  EXPECT_EQ(rig.signed_verdict({foreign}, 1, {rig.one.public_key()}), "UNTRUSTED_KEY");
  EXPECT_ERROR(ErrorCode::kSignatureMalformed,
               registry_envelope(envelope_text(kStatementType, rig.good, {{foreign.signature, ""}})));
}

TEST(Registry, SaysWhoMayRun) {
  const Rig rig;
  const std::string key(64, 'a');
  const std::string other(64, 'b');
  EXPECT_EQ(rig.verdict(rig.good), "OK");
  EXPECT_EQ(rig.verdict(with(rig.good, "\"active\"", "\"deprecated\"")), "OK");
  EXPECT_EQ(rig.verdict(with(rig.good, "\"active\"", "\"revoked\"")), "REVOKED");
  EXPECT_EQ(rig.verdict(rig.good, "other"), "TRUST_ERROR");
  EXPECT_EQ(rig.verdict(with(rig.good, "\"ranker\"", "\"\""), "other"), "OK");
  const std::string by_key = with(rig.good, "\"signers\":[]", "\"signers\":[\"" + key + "\"]");
  EXPECT_EQ(rig.verdict(by_key, "ranker", key), "OK");
  EXPECT_EQ(rig.verdict(by_key, "ranker", other), "UNTRUSTED_KEY");
  EXPECT_EQ(rig.verdict(by_key, "ranker", ""), "OK");  // no signature was asked for
  const std::string key_gone = with(rig.good, "\"revoked_keys\":[]", "\"revoked_keys\":[\"" + key + "\"]");
  EXPECT_EQ(rig.verdict(key_gone, "ranker", key), "REVOKED");
  EXPECT_EQ(rig.verdict(key_gone, "ranker", other), "OK");
  EXPECT_EQ(rig.verdict(with(rig.good, "\"revoked_digests\":[]", "\"revoked_digests\":[\"" + rig.digest + "\"]")),
            "REVOKED");
  EXPECT_EQ(rig.verdict(with(rig.good, "\"min_version\":{}", "\"min_version\":{\"ranker\":3}")), "OK");
  EXPECT_EQ(rig.verdict(with(rig.good, "\"min_version\":{}", "\"min_version\":{\"ranker\":4}")), "REGISTRY_ROLLBACK");
  EXPECT_EQ(rig.verdict(with(rig.good, "\"min_version\":{}", "\"min_version\":{\"other\":4}")), "OK");
  const Registry registry = parse_registry(rig.context, rig.good);
  EXPECT_ERROR(ErrorCode::kHashMismatch, check_registered(registry, "ranker", other, ""));
}

TEST(Registry, BytesThatNobodyRegisteredAreNotParsed) {
  const Rig rig;
  const auto files_of = [&](std::string_view content) {
    const ModelFiles files = ModelFiles::from_bytes(std::as_bytes(std::span(content.data(), content.size())));
    const Registry registry = parse_registry(rig.context, rig.good);
    check_files_registered(registry, files.files());
  };
  files_of("graph");
  EXPECT_ERROR(ErrorCode::kHashMismatch, files_of("grapg"));
}

TEST(Registry, APayloadThatIsNoneIsMalformedThoughItIsSigned) {
  const Rig rig;
  const std::pair<std::string, std::string> changes[] = {
      {"{\"version\":7", "{\"version\":-7"},
      {"{\"version\":7", "{\"version\":7.0"},
      {"{\"version\":7", "{\"version\":\"7\""},
      {"{\"version\":7", "{\"version\":7,\"version\":8"},
      {"{\"version\":7", "{\"extra\":0,\"version\":7"},
      {"2026-03-01T00:00:00Z", "2026-03-01T00:00:00+01:00"},
      {"2026-03-01T00:00:00Z", "2026-02-30T00:00:00Z"},
      {"2026-03-01T00:00:00Z", "2026-03-01T24:00:00Z"},
      {"2026-03-01T00:00:00Z", "never"},
      {"\"active\"", "\"ACTIVE\""},
      {rig.digest, std::string(64, '0')},
      {"\"size\":5", "\"size\":6"},
      {"\"name\":\"model.onnx\"", "\"name\":\"../model.onnx\""},
      {"\"revoked_keys\":[]", "\"revoked_keys\":[7]"},
      {"\"revoked_keys\":[]", "\"revoked_keys\":[\"abc\"]"},
      {"\"min_version\":{}", "\"min_version\":[]"},
      {"\"min_version\":{}", "\"min_version\":{\"a\":null}"},
      {"\"models\":[", "\"models\":[7,"},
      {",\"min_version\":{}", ""},
  };
  for (const auto& [part, instead] : changes) {
    const std::string verdict = rig.verdict(with(rig.good, part, instead));
    if (verdict != "SIGNATURE_MALFORMED")
      anya::test::fail(__FILE__, __LINE__, verdict + " for " + part + " -> " + instead);
  }
}

TEST(Registry, TimesAreThoseOfTheCalendar) {
  EXPECT_EQ(parse_time("1970-01-01T00:00:00Z"), 0);
  EXPECT_EQ(parse_time("2000-02-29T23:59:59Z"), 951868799);
  EXPECT_EQ(parse_time("2026-11-23T01:02:03Z"), 1795395723);
}

TEST(RegistryFloor, NeverGoesDownNorBack) {
  const Rig rig;
  const Registry seven = parse_registry(rig.context, rig.good);
  const Registry eight = parse_registry(rig.context, with(rig.good, "\"version\":7", "\"version\":8"));
  const Registry twin = parse_registry(rig.context, with(rig.good, "\"reason\":\"\"", "\"reason\":\"x\""));
  const std::int64_t day = 86'400;
  const Floor seen = raise_floor({}, seven, seven.issued + day);
  EXPECT_EQ(seen.version, 7u);
  EXPECT_EQ(seen.seen, seven.issued + day);
  EXPECT_EQ(raise_floor(seen, eight, seven.issued + 2 * day).version, 8u);
  EXPECT_ERROR(ErrorCode::kRegistryRollback, raise_floor(raise_floor(seen, eight, 0), seven, seven.issued));
  EXPECT_ERROR(ErrorCode::kRegistryRollback, raise_floor(seen, twin, seven.issued));
  EXPECT_ERROR(ErrorCode::kRegistryExpired, raise_floor(seen, seven, seven.expires));
  EXPECT_EQ(raise_floor(seen, seven, seven.expires - 1).seen, seven.expires - 1);
  // The clock goes back ten years: what was seen counts, and when the registry was made.
  const Floor late = raise_floor(seen, seven, seven.expires - 1);
  EXPECT_EQ(believed_time(late, seven, seven.issued - 3650 * day), seven.expires - 1);
  EXPECT_EQ(believed_time({}, seven, 0), seven.issued);
  const Floor past{7, seven.payload_sha256, seven.expires};
  EXPECT_ERROR(ErrorCode::kRegistryExpired, raise_floor(past, seven, seven.issued));
}

TEST(RegistryFloor, IsKeptInAFileThatFailsClosed) {
  const Rig rig;
  const anya::test::TempDir dir;
  const Registry seven = parse_registry(rig.context, rig.good);
  const Registry eight = parse_registry(rig.context, with(rig.good, "\"version\":7", "\"version\":8"));
  const FloorFile floor(dir / "floor");
  floor.raise(eight, eight.issued);
  try {
    FloorFile(dir / "floor").raise(seven, seven.issued);
    EXPECT_TRUE(false);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kRegistryRollback);
    EXPECT_NE(std::string(error.what()).find(dir / "floor"), std::string::npos);  // who put it back finds the floor
  }
  const std::string kept = read_small_file(dir / "floor", 4096, ErrorCode::kTrustError);
  EXPECT_ERROR(ErrorCode::kRegistryExpired, floor.raise(eight, eight.expires));
  EXPECT_EQ(read_small_file(dir / "floor", 4096, ErrorCode::kTrustError), kept);  // as it was
  floor.raise(eight, eight.issued + 3600);
  EXPECT_NE(read_small_file(dir / "floor", 4096, ErrorCode::kTrustError), kept);  // the time was written down
  for (const char* broken : {"", "{}", "garbage", "{\"version\":8,\"payload_sha256\":\"x\",\"seen\":0}"}) {
    dir.write("floor", broken);
    EXPECT_ERROR(ErrorCode::kTrustError, floor.raise(eight, eight.issued));
  }
  EXPECT_ERROR(ErrorCode::kTrustError, FloorFile(dir / "no/such/folder/floor").raise(eight, eight.issued));
}
