// SPDX-License-Identifier: Apache-2.0
//
// The signature file: a Sigstore bundle v0.3 as OpenSSF Model Signing writes it, signed with a key.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "integrity/keys.h"
#include "integrity/manifest.h"

namespace anya::integrity {

inline constexpr std::uint64_t kMaxBundleBytes = std::uint64_t{8} << 20;  // some 40,000 files

struct VerifiedManifest {
  Manifest manifest;
  std::string signer;  // the id of the key that signed it
};

// Holds a bundle against keys and reads what it signs, in this order. Pure; thread-safe. Throws kSignatureMalformed,
// kUntrustedKey (signed by another key, or by a certificate), kSignatureInvalid (one of our keys is said to have signed
// and has not).
VerifiedManifest verify_bundle(const CryptoContext& context, std::string_view bundle,
                               const std::vector<PublicKey>& keys);

// The bundle for a manifest.
std::string sign_bundle(const CryptoContext& context, const Manifest& manifest, std::string_view subject,
                        const PrivateKey& key);
// The same for any statement: what tests sign, well-formed or not.
std::string sign_statement(std::string_view statement, const PrivateKey& key);

}  // namespace anya::integrity
