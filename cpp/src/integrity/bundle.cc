// SPDX-License-Identifier: Apache-2.0
#include "integrity/bundle.h"

#include <algorithm>

#include "anya/status.h"
#include "base/text.h"
#include "integrity/dsse.h"

namespace anya::integrity {
namespace {

constexpr std::string_view kMediaType = "application/vnd.dev.sigstore.bundle.v0.3+json";

struct Bundle {
  std::string hint;  // which key is said to have signed
  Envelope envelope;
};

Bundle read_bundle(std::string_view text) {
  JsonLimits limits;
  limits.max_string = kMaxBundleBytes;  // the payload is one string
  const Json json = parse_json(text, limits);
  json.only({"mediaType", "verificationMaterial", "dsseEnvelope"});
  if (json.string_at("mediaType") != kMediaType) {
    throw Malformed("its 'mediaType' is " + quoted(json.string_at("mediaType"), 80) + ", not " + quoted(kMediaType));
  }
  const Json& material = json.object_at("verificationMaterial");
  material.only({"publicKey", "x509CertificateChain", "certificate", "tlogEntries"});
  const bool by_certificate =
      material.find("x509CertificateChain") != nullptr || material.find("certificate") != nullptr;
  if (by_certificate && material.find("publicKey") == nullptr) {
    // What was configured decides how it is verified, never what is verified.
    throw Error(ErrorCode::kUntrustedKey, "the signature rests on a certificate; only keys are trusted here");
  }
  if (by_certificate) throw Malformed("it rests on a key and on a certificate");
  if (material.find("tlogEntries") != nullptr && !material.array_at("tlogEntries").empty()) {
    throw Malformed("a signature by a key has no entries of a transparency log");
  }
  const Json& key = material.object_at("publicKey");
  key.only({"hint"});
  return {key.string_at("hint"), read_envelope(json.object_at("dsseEnvelope"), kStatementType, 1)};
}

}  // namespace

VerifiedManifest verify_bundle(const CryptoContext& context, std::string_view text,
                               const std::vector<PublicKey>& keys) {
  Bundle bundle;
  try {
    bundle = read_bundle(text);
  } catch (const Malformed& fault) {
    throw Error(ErrorCode::kSignatureMalformed, std::string("the signature is malformed: ") + fault.what());
  }
  const auto key = std::ranges::find_if(keys, [&](const PublicKey& each) { return each.id() == bundle.hint; });
  if (key == keys.end()) {
    throw Error(ErrorCode::kUntrustedKey, "the signature is by the key " + quoted(bundle.hint, 64) +
                                              ", which is none of the " + std::to_string(keys.size()) +
                                              " trusted ones");
  }
  if (!signed_by(bundle.envelope, *key)) {
    throw Error(ErrorCode::kSignatureInvalid,
                "the signature is not by the key " + quoted(bundle.hint, 64) + " that it names, or not over this text");
  }
  return {parse_statement(context, bundle.envelope.payload), key->id()};
}

std::string sign_bundle(const CryptoContext& context, const Manifest& manifest, std::string_view subject,
                        const PrivateKey& key) {
  return sign_statement(statement_text(context, manifest, subject), key);
}

std::string sign_statement(std::string_view statement, const PrivateKey& key) {
  const std::string signature = sign_payload(key, kStatementType, statement);
  return "{\"mediaType\":" + json_quoted(kMediaType) + ",\"verificationMaterial\":{\"publicKey\":{\"hint\":\"" +
         key.public_key().id() +
         "\"},\"tlogEntries\":[]},\"dsseEnvelope\":" + envelope_text(kStatementType, statement, {{signature, ""}}) +
         "}";
}

}  // namespace anya::integrity
