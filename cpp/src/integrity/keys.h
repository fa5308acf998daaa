// SPDX-License-Identifier: Apache-2.0
//
// Keys for ECDSA on P-256 (with SHA-256), P-384 (SHA-384) and P-521 (SHA-512), as OpenSSF Model Signing has them. No
// other kind is taken: which algorithm verifies follows from the key, never from what is verified.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "integrity/sha256.h"

struct evp_pkey_st;

namespace anya::integrity {

// The half that verifies. Immutable; thread-safe. REQUIRES: the context outlives it.
class PublicKey {
 public:
  // Reads PEM "PUBLIC KEY". Throws kConfigError: no key, a key of another kind, a point that is not on its curve.
  // `name` is what messages call it.
  static PublicKey from_pem(const CryptoContext& context, std::string_view pem, const std::string& name);

  // SHA-256 of the canonical PEM text, in hex: what a bundle calls it, and `sha256sum KEY.pub` prints.
  [[nodiscard]] const std::string& id() const noexcept { return id_; }
  [[nodiscard]] const std::string& pem() const noexcept { return pem_; }
  // True only for a signature of exactly these bytes (the pieces one after the other) by this key.
  [[nodiscard]] bool verifies(std::string_view signature, std::string_view head, std::string_view body) const;

 private:
  friend class PrivateKey;
  PublicKey(const CryptoContext& context, std::shared_ptr<evp_pkey_st> key, const std::string& name);

  const CryptoContext* context_;
  std::shared_ptr<evp_pkey_st> key_;
  const char* hash_ = nullptr;
  std::string pem_;
  std::string id_;
};

// The half that signs. Immutable; thread-safe. Its bytes are wiped when it goes. REQUIRES: the context outlives it.
class PrivateKey {
 public:
  // `curve`: "P-256", "P-384" or "P-521". Throws kConfigError for another.
  static PrivateKey generate(const CryptoContext& context, const std::string& curve);
  // Reads PEM: PKCS#8, encrypted or not, or "EC PRIVATE KEY". Throws kConfigError; the message never says the password.
  static PrivateKey from_pem(const CryptoContext& context, std::string_view pem, const std::string& password,
                             const std::string& name);

  // PKCS#8, encrypted with AES-256 under PBKDF2 (600,000 rounds of SHA-256) when there is a password.
  [[nodiscard]] std::string pem(const std::string& password) const;
  [[nodiscard]] const PublicKey& public_key() const noexcept { return public_; }
  [[nodiscard]] std::string sign(std::string_view head, std::string_view body) const;

 private:
  explicit PrivateKey(PublicKey both) : public_(std::move(both)) {}
  PublicKey public_;  // holds both halves
};

// Keys of files, each once however often it is named. Blocks on the disk. Throws kConfigError.
std::vector<PublicKey> read_public_keys(const CryptoContext& context, const std::vector<std::string>& paths);
PrivateKey read_private_key(const CryptoContext& context, const std::string& path, const std::string& password);

}  // namespace anya::integrity
