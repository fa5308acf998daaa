// SPDX-License-Identifier: Apache-2.0
//
// Questions and answers in few words, for the tests of the cache.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "anya/cache.h"

namespace anya::test {

inline constexpr std::array<std::uint64_t, 2> kSeed = {0x0123456789ABCDEFU, 0xFEDCBA9876543210U};
inline constexpr std::uint32_t kFirstOutput[] = {0};

inline CacheOptions cache_options(std::int64_t capacity, const std::string& policy = "s3fifo") {
  CacheOptions options;
  options.capacity_bytes = capacity;
  options.policy = policy;
  options.ttl_jitter = 0;
  return options;
}

// One input of bytes, and what is made of it.
struct Asked {
  std::string bytes;
  std::string tenant;
  TensorView view;
  CacheQuestion question;

  Asked(const ResponseCache& cache, std::string the_bytes, std::string the_tenant = "",
        std::span<const std::uint32_t> outputs = kFirstOutput)
      : bytes(std::move(the_bytes)), tenant(std::move(the_tenant)) {
    view = {DType::kUInt8, {static_cast<std::int64_t>(bytes.size())}, bytes.data(), bytes.size()};
    cache.ask(tenant, outputs, {&view, 1}, question);
  }
  Asked(const Asked&) = delete;
  Asked& operator=(const Asked&) = delete;
};

inline std::shared_ptr<const CachedAnswer> answer_of(float value, std::int64_t count = 1) {
  std::vector<float> values(static_cast<std::size_t>(count), value);
  const OutputBuffer output{DType::kFloat32, {count}, values.data(), values.size() * sizeof(float), nullptr};
  return std::make_shared<CachedAnswer>(std::span(&output, 1));
}

inline void put(ResponseCache& cache, const std::string& bytes, float value, Nanos now) {
  Asked asked(cache, bytes);
  static_cast<void>(cache.find(asked.question, now));
  cache.insert(std::make_shared<CacheKey>(asked.question), answer_of(value), now);
}

// The value that is there; -1: none.
inline float get(ResponseCache& cache, const std::string& bytes, Nanos now) {
  Asked asked(cache, bytes);
  const ResponseCache::Found found = cache.find(asked.question, now);
  if (found.answer == nullptr) return -1;
  float value = 0;
  std::memcpy(&value, found.answer->outputs()[0].data, sizeof(value));
  return value;
}

}  // namespace anya::test
