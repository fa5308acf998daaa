// SPDX-License-Identifier: Apache-2.0
#include "cache/key_mac.h"

#include <cstring>
#include <string>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>

#include "anya/status.h"

namespace anya::cache {
namespace {

[[noreturn]] void throw_failed(const char* what) {
  throw Error(ErrorCode::kUnavailable, std::string("libcrypto: GMAC ") + what);
}

}  // namespace

KeyMac::~KeyMac() {
  EVP_MAC_CTX_free(keyed_);
  if (provider_ != nullptr) OSSL_PROVIDER_unload(provider_);
  OSSL_LIB_CTX_free(library_);
}

void KeyMac::open() const {
  if (library_ == nullptr) library_ = OSSL_LIB_CTX_new();
  if (library_ == nullptr) throw Error(ErrorCode::kOutOfMemory, "libcrypto: no memory for a library context");
  if (provider_ == nullptr) provider_ = OSSL_PROVIDER_load(library_, "default");
  EVP_MAC* const mac = provider_ == nullptr ? nullptr : EVP_MAC_fetch(library_, "GMAC", nullptr);
  if (mac == nullptr) throw_failed("is not there");
  EVP_MAC_CTX* const fresh = EVP_MAC_CTX_new(mac);
  EVP_MAC_free(mac);  // the context holds it
  if (fresh == nullptr) throw Error(ErrorCode::kOutOfMemory, "libcrypto: no memory for a MAC");
  char cipher[] = "AES-128-GCM";
  unsigned char nonce[12] = {};
  const OSSL_PARAM terms[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_CIPHER, cipher, 0),
                              OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_IV, nonce, sizeof(nonce)),
                              OSSL_PARAM_construct_end()};
  if (EVP_MAC_init(fresh, reinterpret_cast<const unsigned char*>(key_.data()), sizeof(key_), terms) != 1) {
    EVP_MAC_CTX_free(fresh);
    throw_failed("does not start");
  }
  keyed_ = fresh;
}

KeyMac::Stream::Stream(const KeyMac& mac) : state_(nullptr, &EVP_MAC_CTX_free) {
  std::call_once(mac.opened_, [&] { mac.open(); });
  state_.reset(EVP_MAC_CTX_dup(mac.keyed_));
  if (!state_) throw Error(ErrorCode::kOutOfMemory, "libcrypto: no memory for a MAC");
}

void KeyMac::Stream::update(const void* data, std::size_t size) {
  if (EVP_MAC_update(state_.get(), static_cast<const unsigned char*>(data), size) != 1) throw_failed("does not go on");
}

KeyMac::Tag KeyMac::Stream::finish() {
  Tag tag{};
  std::size_t size = 0;
  const int done = EVP_MAC_final(state_.get(), reinterpret_cast<unsigned char*>(tag.data()), &size, sizeof(tag));
  if (done != 1 || size != sizeof(tag)) throw_failed("does not end");
  return tag;
}

}  // namespace anya::cache
