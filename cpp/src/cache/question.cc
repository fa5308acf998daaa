// SPDX-License-Identifier: Apache-2.0
#include "cache/question.h"

#include <new>

namespace anya {
namespace cache {

void write_header(std::string_view tenant, std::span<const std::uint32_t> outputs, std::span<const TensorView> inputs,
                  std::vector<std::byte>& header) {
  std::size_t size = sizeof(std::uint64_t) * 2 + tenant.size() + outputs.size_bytes();
  for (const TensorView& input : inputs) size += sizeof(std::uint64_t) * (2 + input.shape.rank());
  header.resize(size);
  std::byte* at = header.data();
  const auto number = [&at](std::uint64_t value) {
    std::memcpy(at, &value, sizeof(value));
    at += sizeof(value);
  };
  const auto bytes = [&at](const void* from, std::size_t count) {
    if (count > 0) std::memcpy(at, from, count);
    at += count;
  };
  number(tenant.size());
  bytes(tenant.data(), tenant.size());
  number(outputs.size());
  bytes(outputs.data(), outputs.size_bytes());
  for (const TensorView& input : inputs) {
    number(static_cast<std::uint64_t>(input.dtype) << 8U | input.shape.rank());
    bytes(input.shape.data(), input.shape.rank() * sizeof(std::int64_t));
    number(input.bytes);
  }
}

}  // namespace cache

void CacheKey::Free::operator()(std::byte* block) const noexcept {
  ::operator delete[](block, std::align_val_t{cache::kAlign});
}

CacheKey::CacheKey(const CacheQuestion& question)
    : hash_(question.hash), sketch_(question.sketch), mac_(question.mac), header_bytes_(question.header.size()) {
  if (question.by_mac) return;
  bytes_ = question.bytes;
  block_.reset(static_cast<std::byte*>(::operator new[](bytes_, std::align_val_t{cache::kAlign})));
  std::size_t end = 0;
  cache::walk(question.header, question.inputs, [&](const void* data, std::size_t size, bool starts) {
    const std::size_t before = end;
    const std::size_t at = cache::place(end, size, starts);
    std::memset(block_.get() + before, 0, at - before);
    if (size > 0) std::memcpy(block_.get() + at, data, size);
    return true;
  });
}

bool CacheKey::matches(const CacheQuestion& question) const noexcept {
  if (question.by_mac != !holds_values()) return false;
  if (question.by_mac) return mac_ == question.mac;
  if (question.bytes != bytes_ || question.header.size() != header_bytes_) return false;
  std::size_t end = 0;
  return cache::walk(question.header, question.inputs, [&](const void* data, std::size_t size, bool starts) {
    const std::size_t at = cache::place(end, size, starts);
    return end <= bytes_ && (size == 0 || std::memcmp(block_.get() + at, data, size) == 0);
  });
}

bool CacheKey::matches(const CacheKey& other) const noexcept {
  if (hash_ != other.hash_ || holds_values() != other.holds_values()) return false;
  if (!holds_values()) return mac_ == other.mac_;
  return bytes_ == other.bytes_ && header_bytes_ == other.header_bytes_ &&
         std::memcmp(block_.get(), other.block_.get(), bytes_) == 0;
}

std::size_t CacheKey::memory_bytes() const noexcept {
  return sizeof(CacheKey) + 32 + (block_ ? bytes_ + cache::kAlign + 16 : 0);
}

void CacheKey::lend(std::span<TensorView> inputs) const noexcept {
  if (!block_) return;
  std::size_t end = header_bytes_;
  for (TensorView& input : inputs) {
    if (input.dtype != DType::kString) {
      input.data = block_.get() + cache::place(end, input.bytes, true);
      continue;
    }
    const auto* const strings = static_cast<const std::string_view*>(input.data);
    for (std::size_t i = 0; i < input.bytes / sizeof(std::string_view); ++i) {
      cache::place(end, sizeof(std::uint64_t), i == 0);
      cache::place(end, strings[i].size(), false);
    }
  }
}

}  // namespace anya
