// SPDX-License-Identifier: Apache-2.0
#include "cache/index_hash.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace anya::cache {
namespace {

// Lane i sums the words i, i + 8, i + 16 …: (low + its key's low) * (high + its key's high), 32 bits each.
IndexHash::Sums sum_plain(const std::byte* block, const std::uint64_t* keys) noexcept {
  IndexHash::Sums sums{};
  for (std::size_t i = 0; i < IndexHash::kWords; ++i) {
    std::uint64_t value = 0;
    std::memcpy(&value, block + i * 8, 8);
    const auto low = static_cast<std::uint32_t>(value) + static_cast<std::uint32_t>(keys[i]);
    const auto high = static_cast<std::uint32_t>(value >> 32U) + static_cast<std::uint32_t>(keys[i] >> 32U);
    sums[i % IndexHash::kLanes] += std::uint64_t{low} * high;
  }
  return sums;
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] IndexHash::Sums sum_avx2(const std::byte* block, const std::uint64_t* keys) noexcept {
  __m256i first = _mm256_setzero_si256();
  __m256i second = _mm256_setzero_si256();
  for (std::size_t i = 0; i < IndexHash::kWords; i += 8) {
    const auto* const at = reinterpret_cast<const __m256i*>(block + i * 8);
    const auto* const key = reinterpret_cast<const __m256i*>(keys + i);
    const __m256i a = _mm256_add_epi32(_mm256_loadu_si256(at), _mm256_load_si256(key));
    const __m256i b = _mm256_add_epi32(_mm256_loadu_si256(at + 1), _mm256_load_si256(key + 1));
    first = _mm256_add_epi64(first, _mm256_mul_epu32(a, _mm256_srli_epi64(a, 32)));
    second = _mm256_add_epi64(second, _mm256_mul_epu32(b, _mm256_srli_epi64(b, 32)));
  }
  IndexHash::Sums sums;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums.data()), first);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(sums.data() + 4), second);
  return sums;
}
#endif

}  // namespace

IndexHash::IndexHash(std::array<std::uint64_t, 2> seed) noexcept : sum_(best_sum()) {
  std::uint64_t state = seed[0];
  std::uint64_t count = 0;
  for (std::uint64_t& key : keys_) key = state = hash_combine(state ^ seed[1], ++count);
  for (std::uint64_t& key : nh_keys_) key = state = hash_combine(state ^ seed[1], ++count);
}

IndexHash::Sums IndexHash::plain_sums(const std::byte* block) const noexcept {
  return sum_plain(block, nh_keys_.data());
}

// Chosen by hand: the linker's own mechanism, ifunc, runs before a sanitizer's start.
IndexHash::Sum IndexHash::best_sum() noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return &sum_avx2;
#endif
  return &sum_plain;
}

}  // namespace anya::cache
