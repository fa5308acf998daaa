// SPDX-License-Identifier: Apache-2.0
#include "integrity/keys.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "anya/status.h"
#include "base/text.h"
#include "integrity/small_file.h"

namespace anya::integrity {
namespace {

constexpr std::uint64_t kMaxKeyFile = std::uint64_t{64} << 10;
constexpr int kPasswordRounds = 600'000;

struct Curve {
  const char* name;   // ours
  const char* group;  // OpenSSL's
  const char* hash;
};
constexpr std::array kCurves = {
    Curve{"P-256", "prime256v1", "SHA256"},
    Curve{"P-384", "secp384r1", "SHA384"},
    Curve{"P-521", "secp521r1", "SHA512"},
};

[[noreturn]] void refuse(const std::string& name, const std::string& what) {
  ERR_clear_error();
  throw Error(ErrorCode::kConfigError, "key " + quoted(name) + " " + what);
}

[[noreturn]] void throw_failed(const char* what) {
  ERR_clear_error();
  throw Error(ErrorCode::kUnavailable, std::string("libcrypto: ") + what);
}

using Bio = std::unique_ptr<BIO, int (*)(BIO*)>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)>;

Bio reading(std::string_view text) { return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free}; }

// Secure memory is not asked for: the key lies in the process anyway while it signs. It is wiped when it is freed.
std::string text_of(const Bio& bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  std::string text(data, static_cast<std::size_t>(size));
  OPENSSL_cleanse(data, text.size());
  return text;
}

// Never asks on the terminal, which OpenSSL would without it.
int give_password(char* into, int room, int /*writing*/, void* given) {
  const auto& password = *static_cast<const std::string*>(given);
  if (password.empty() || password.size() > static_cast<std::size_t>(room)) return -1;
  // NOLINTNEXTLINE(bugprone-not-null-terminated-result): OpenSSL asks for the length, not for an end
  std::memcpy(into, password.data(), password.size());
  return static_cast<int>(password.size());
}

std::string with_curves(const std::string& what) {
  return what + "; it must be an elliptic-curve key on P-256, P-384 or P-521";
}

const Curve& curve_of(EVP_PKEY* key, const std::string& name) {
  if (EVP_PKEY_is_a(key, "EC") != 1) {
    const char* const kind = EVP_PKEY_get0_type_name(key);
    refuse(name, with_curves(std::string("is of the kind ") + (kind == nullptr ? "unknown" : kind)));
  }
  int is_explicit = 0;
  if (EVP_PKEY_get_int_param(key, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS, &is_explicit) == 1 &&
      is_explicit != 0) {
    refuse(name, "spells its curve out instead of naming it");
  }
  char group[64] = "";
  std::size_t size = 0;
  if (EVP_PKEY_get_group_name(key, group, sizeof group, &size) != 1) refuse(name, with_curves("names no curve"));
  for (const Curve& curve : kCurves) {
    if (std::strcmp(curve.group, group) == 0) return curve;
  }
  refuse(name, with_curves(std::string("is on the curve ") + group));
}

}  // namespace

PublicKey::PublicKey(const CryptoContext& context, std::shared_ptr<EVP_PKEY> key, const std::string& name)
    : context_(&context), key_(std::move(key)) {
  hash_ = curve_of(key_.get(), name).hash;
  const std::unique_ptr<EVP_PKEY_CTX, void (*)(EVP_PKEY_CTX*)> check(
      EVP_PKEY_CTX_new_from_pkey(context.library(), key_.get(), nullptr), &EVP_PKEY_CTX_free);
  if (!check || EVP_PKEY_public_check(check.get()) != 1) refuse(name, "is no point on its curve");
  // One key, one text, however its point was written: a key must not count as two.
  if (EVP_PKEY_set_utf8_string_param(key_.get(), OSSL_PKEY_PARAM_EC_POINT_CONVERSION_FORMAT, "uncompressed") != 1) {
    throw_failed("it does not write points in full");
  }
  const Bio bio(BIO_new(BIO_s_mem()), &BIO_free);
  if (!bio || PEM_write_bio_PUBKEY(bio.get(), key_.get()) != 1) throw_failed("it does not write a public key");
  pem_ = text_of(bio);
  id_ = to_hex(sha256(context, std::as_bytes(std::span(pem_.data(), pem_.size()))));
}

PublicKey PublicKey::from_pem(const CryptoContext& context, std::string_view pem, const std::string& name) {
  const Bio bio = reading(pem);
  std::string nothing;
  EVP_PKEY* const key =
      PEM_read_bio_PUBKEY_ex(bio.get(), nullptr, &give_password, &nothing, context.library(), nullptr);
  if (key == nullptr) refuse(name, "is no public key in PEM (\"BEGIN PUBLIC KEY\")");
  ERR_clear_error();
  return {context, std::shared_ptr<EVP_PKEY>(key, &EVP_PKEY_free), name};
}

bool PublicKey::verifies(std::string_view signature, std::string_view head, std::string_view body) const {
  const DigestContext state(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  if (!state) throw Error(ErrorCode::kOutOfMemory, "libcrypto: no memory for a signature");
  if (EVP_DigestVerifyInit_ex(state.get(), nullptr, hash_, context_->library(), nullptr, key_.get(), nullptr) != 1 ||
      EVP_DigestVerifyUpdate(state.get(), head.data(), head.size()) != 1 ||
      EVP_DigestVerifyUpdate(state.get(), body.data(), body.size()) != 1) {
    throw_failed("a verification does not start");
  }
  // 0 is a wrong signature, below it something that is none: 1 alone is yes.
  const int verdict =
      EVP_DigestVerifyFinal(state.get(), reinterpret_cast<const unsigned char*>(signature.data()), signature.size());
  ERR_clear_error();
  return verdict == 1;
}

PrivateKey PrivateKey::generate(const CryptoContext& context, const std::string& curve) {
  const auto* const found = std::ranges::find_if(kCurves, [&](const Curve& c) { return c.name == curve; });
  if (found == kCurves.end()) {
    throw Error(ErrorCode::kConfigError, "curve: must be P-256, P-384 or P-521, got " + quoted(curve, 40), "curve");
  }
  EVP_PKEY* const key = EVP_PKEY_Q_keygen(context.library(), nullptr, "EC", found->group);
  if (key == nullptr) throw_failed("it makes no key");
  return PrivateKey(PublicKey(context, std::shared_ptr<EVP_PKEY>(key, &EVP_PKEY_free), "new"));
}

PrivateKey PrivateKey::from_pem(const CryptoContext& context, std::string_view pem, const std::string& password,
                                const std::string& name) {
  const Bio bio = reading(pem);
  std::string given = password;
  EVP_PKEY* const key =
      PEM_read_bio_PrivateKey_ex(bio.get(), nullptr, &give_password, &given, context.library(), nullptr);
  OPENSSL_cleanse(given.data(), given.size());
  if (key == nullptr) {
    const bool encrypted = pem.find("ENCRYPTED") != std::string_view::npos;
    if (encrypted && password.empty()) refuse(name, "is protected by a password, and none was given");
    refuse(name, encrypted ? "cannot be read: the password is wrong, or the file is damaged"
                           : "is no private key in PEM (\"BEGIN PRIVATE KEY\")");
  }
  ERR_clear_error();
  return PrivateKey(PublicKey(context, std::shared_ptr<EVP_PKEY>(key, &EVP_PKEY_free), name));
}

std::string PrivateKey::pem(const std::string& password) const {
  using Info = std::unique_ptr<PKCS8_PRIV_KEY_INFO, void (*)(PKCS8_PRIV_KEY_INFO*)>;
  const Info info(EVP_PKEY2PKCS8(public_.key_.get()), &PKCS8_PRIV_KEY_INFO_free);
  const Bio bio(BIO_new(BIO_s_mem()), &BIO_free);
  if (!info || !bio) throw_failed("it does not write a private key");
  if (password.empty()) {
    if (PEM_write_bio_PKCS8_PRIV_KEY_INFO(bio.get(), info.get()) != 1) throw_failed("it does not write a private key");
    return text_of(bio);
  }
  OSSL_LIB_CTX* const library = public_.context_->library();
  const std::unique_ptr<EVP_CIPHER, void (*)(EVP_CIPHER*)> cipher(EVP_CIPHER_fetch(library, "AES-256-CBC", nullptr),
                                                                  &EVP_CIPHER_free);
  if (!cipher) throw_failed("it offers no AES-256");
  X509_ALGOR* const scheme =
      PKCS5_pbe2_set_iv_ex(cipher.get(), kPasswordRounds, nullptr, 16, nullptr, NID_hmacWithSHA256, library);
  if (scheme == nullptr) throw_failed("it does not protect a private key");
  const std::unique_ptr<X509_SIG, void (*)(X509_SIG*)> locked(
      PKCS8_set0_pbe_ex(password.data(), static_cast<int>(password.size()), info.get(), scheme, library, nullptr),
      &X509_SIG_free);
  if (!locked) {
    X509_ALGOR_free(scheme);
    throw_failed("it does not protect a private key");
  }
  if (PEM_write_bio_PKCS8(bio.get(), locked.get()) != 1) throw_failed("it does not write a private key");
  return text_of(bio);
}

std::string PrivateKey::sign(std::string_view head, std::string_view body) const {
  const DigestContext state(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  if (!state) throw Error(ErrorCode::kOutOfMemory, "libcrypto: no memory for a signature");
  std::size_t size = 0;
  if (EVP_DigestSignInit_ex(state.get(), nullptr, public_.hash_, public_.context_->library(), nullptr,
                            public_.key_.get(), nullptr) != 1 ||
      EVP_DigestSignUpdate(state.get(), head.data(), head.size()) != 1 ||
      EVP_DigestSignUpdate(state.get(), body.data(), body.size()) != 1 ||
      EVP_DigestSignFinal(state.get(), nullptr, &size) != 1) {
    throw_failed("it does not sign");
  }
  std::string signature(size, '\0');
  if (EVP_DigestSignFinal(state.get(), reinterpret_cast<unsigned char*>(signature.data()), &size) != 1) {
    throw_failed("it does not sign");
  }
  signature.resize(size);
  return signature;
}

std::vector<PublicKey> read_public_keys(const CryptoContext& context, const std::vector<std::string>& paths) {
  std::vector<PublicKey> keys;
  for (const std::string& path : paths) {
    PublicKey key = PublicKey::from_pem(context, read_small_file(path, kMaxKeyFile, ErrorCode::kConfigError), path);
    const bool known = std::ranges::any_of(keys, [&](const PublicKey& other) { return other.id() == key.id(); });
    if (!known) keys.push_back(std::move(key));
  }
  return keys;
}

PrivateKey read_private_key(const CryptoContext& context, const std::string& path, const std::string& password) {
  std::string pem = read_small_file(path, kMaxKeyFile, ErrorCode::kConfigError);
  try {
    PrivateKey key = PrivateKey::from_pem(context, pem, password, path);
    OPENSSL_cleanse(pem.data(), pem.size());
    return key;
  } catch (...) {
    OPENSSL_cleanse(pem.data(), pem.size());
    throw;
  }
}

}  // namespace anya::integrity
