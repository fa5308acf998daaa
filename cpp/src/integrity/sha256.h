// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

// OpenSSL's types, declared here so that its headers stay in the .cc file.
struct ossl_lib_ctx_st;
struct ossl_provider_st;
struct evp_md_st;
struct evp_md_ctx_st;

namespace anya::integrity {

// A libcrypto of our own: the host process may have configured, replaced or broken its global one.
// Thread-safe after construction. Throws kUnavailable when libcrypto offers no SHA-256.
class CryptoContext {
 public:
  CryptoContext();
  ~CryptoContext();
  CryptoContext(const CryptoContext&) = delete;
  CryptoContext& operator=(const CryptoContext&) = delete;

  [[nodiscard]] ossl_lib_ctx_st* library() const noexcept { return library_; }
  [[nodiscard]] const evp_md_st* sha256() const noexcept { return sha256_; }

 private:
  void close() noexcept;

  ossl_lib_ctx_st* library_ = nullptr;
  ossl_provider_st* provider_ = nullptr;
  evp_md_st* sha256_ = nullptr;
};

using Digest = std::array<std::byte, 32>;

// One SHA-256 in progress. Not thread-safe. REQUIRES: the context outlives it.
class Sha256 {
 public:
  explicit Sha256(const CryptoContext& context);
  void update(std::span<const std::byte> bytes);
  void update(std::string_view text) { update(std::as_bytes(std::span(text.data(), text.size()))); }
  [[nodiscard]] Digest finish();  // once

 private:
  std::unique_ptr<evp_md_ctx_st, void (*)(evp_md_ctx_st*)> state_;
};

[[nodiscard]] Digest sha256(const CryptoContext& context, std::span<const std::byte> bytes);
[[nodiscard]] std::string to_hex(std::span<const std::byte> bytes);  // lower case
[[nodiscard]] Digest from_hex(std::string_view hex);                 // REQUIRES: 64 lower-case digits

}  // namespace anya::integrity
