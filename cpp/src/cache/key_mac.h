// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>

// OpenSSL's types, declared here so that its headers stay in the .cc file.
struct ossl_lib_ctx_st;
struct ossl_provider_st;
struct evp_mac_ctx_st;

namespace anya::cache {

// GMAC (AES-128-GCM over nothing but associated data) with a key of its own that never leaves it, and one fixed nonce:
// a universal hash of whoever does not see tags, which nobody does. Thread-safe; libcrypto is set up by the first use.
class KeyMac {
 public:
  using Tag = std::array<std::uint64_t, 2>;

  explicit KeyMac(std::array<std::uint64_t, 2> key) noexcept : key_(key) {}
  ~KeyMac();
  KeyMac(const KeyMac&) = delete;
  KeyMac& operator=(const KeyMac&) = delete;

  // One tag in progress. Throws Error(kUnavailable) when libcrypto does not do it, kOutOfMemory when it has no memory.
  class Stream {
   public:
    explicit Stream(const KeyMac& mac);
    void update(const void* data, std::size_t size);
    [[nodiscard]] Tag finish();  // once

   private:
    std::unique_ptr<evp_mac_ctx_st, void (*)(evp_mac_ctx_st*)> state_;
  };

 private:
  void open() const;

  const std::array<std::uint64_t, 2> key_;
  mutable std::once_flag opened_;
  mutable ossl_lib_ctx_st* library_ = nullptr;
  mutable ossl_provider_st* provider_ = nullptr;
  mutable evp_mac_ctx_st* keyed_ = nullptr;  // copied for each tag
};

}  // namespace anya::cache
