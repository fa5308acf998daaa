// SPDX-License-Identifier: Apache-2.0
#include "integrity/sha256.h"

#include <openssl/evp.h>
#include <openssl/provider.h>

#include "anya/status.h"

namespace anya::integrity {
namespace {

[[noreturn]] void throw_no_digest(const char* what) {
  throw Error(ErrorCode::kUnavailable, std::string("libcrypto: ") + what);
}

}  // namespace

CryptoContext::CryptoContext() {
  library_ = OSSL_LIB_CTX_new();
  if (library_ == nullptr) throw Error(ErrorCode::kOutOfMemory, "libcrypto: no memory for a library context");
  provider_ = OSSL_PROVIDER_load(library_, "default");
  if (provider_ != nullptr) sha256_ = EVP_MD_fetch(library_, "SHA256", nullptr);
  if (sha256_ != nullptr) return;
  close();
  throw_no_digest("it offers no SHA-256");
}

CryptoContext::~CryptoContext() { close(); }

void CryptoContext::close() noexcept {
  EVP_MD_free(sha256_);
  if (provider_ != nullptr) OSSL_PROVIDER_unload(provider_);
  OSSL_LIB_CTX_free(library_);
}

Sha256::Sha256(const CryptoContext& context) : state_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) {
  if (!state_) throw Error(ErrorCode::kOutOfMemory, "libcrypto: no memory for a digest");
  if (EVP_DigestInit_ex2(state_.get(), context.sha256(), nullptr) != 1) throw_no_digest("SHA-256 does not start");
}

void Sha256::update(std::span<const std::byte> bytes) {
  if (EVP_DigestUpdate(state_.get(), bytes.data(), bytes.size()) != 1) throw_no_digest("SHA-256 does not go on");
}

Digest Sha256::finish() {
  Digest digest{};
  unsigned int size = 0;
  const int done = EVP_DigestFinal_ex(state_.get(), reinterpret_cast<unsigned char*>(digest.data()), &size);
  if (done != 1 || size != digest.size()) throw_no_digest("SHA-256 does not end");
  return digest;
}

Digest sha256(const CryptoContext& context, std::span<const std::byte> bytes) {
  Sha256 hash(context);
  hash.update(bytes);
  return hash.finish();
}

std::string to_hex(std::span<const std::byte> bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte byte : bytes) {
    text += kHex[std::to_integer<unsigned>(byte) >> 4];
    text += kHex[std::to_integer<unsigned>(byte) & 15U];
  }
  return text;
}

Digest from_hex(std::string_view hex) {
  const auto nibble = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
  Digest digest{};
  for (std::size_t i = 0; i < digest.size(); ++i) {
    digest[i] = static_cast<std::byte>(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
  }
  return digest;
}

}  // namespace anya::integrity
