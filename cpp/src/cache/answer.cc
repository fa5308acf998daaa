// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "anya/cache.h"
#include "cache/question.h"

namespace anya {
namespace {

std::span<const std::string_view> strings_of(const OutputBuffer& output) noexcept {
  return {static_cast<const std::string_view*>(output.data), output.bytes / sizeof(std::string_view)};
}

// What an output takes: its elements, and behind those of strings their text.
std::size_t bytes_of(const OutputBuffer& output) noexcept {
  std::size_t bytes = output.bytes;
  if (output.dtype != DType::kString) return bytes;
  for (const std::string_view text : strings_of(output)) bytes += text.size();
  return bytes;
}

}  // namespace

CachedAnswer::CachedAnswer(std::span<const OutputBuffer> outputs) {
  std::size_t total = 0;
  for (const OutputBuffer& output : outputs) total += cache::aligned(bytes_of(output));
  block_.resize(total);
  outputs_.reserve(outputs.size());
  std::byte* at = block_.data();
  for (const OutputBuffer& output : outputs) {
    outputs_.push_back({output.dtype, output.shape, at, output.bytes, nullptr});
    if (output.dtype == DType::kString) {
      std::byte* text = at + output.bytes;
      for (std::size_t i = 0; i < strings_of(output).size(); ++i) {
        const std::string_view given = strings_of(output)[i];
        if (!given.empty()) std::memcpy(text, given.data(), given.size());
        const std::string_view kept(reinterpret_cast<const char*>(text), given.size());
        std::memcpy(at + i * sizeof(std::string_view), &kept, sizeof(std::string_view));
        text += given.size();
      }
    } else if (output.bytes > 0) {
      std::memcpy(at, output.data, output.bytes);
    }
    at += cache::aligned(bytes_of(output));
  }
}

bool CachedAnswer::copy_to(std::span<const OutputBuffer> into) const noexcept {
  if (into.size() != outputs_.size()) return false;
  for (std::size_t i = 0; i < into.size(); ++i) {
    const OutputBuffer& mine = outputs_[i];
    const bool fits = into[i].data != nullptr && into[i].dtype == mine.dtype && into[i].bytes == mine.bytes &&
                      mine.dtype != DType::kString && into[i].shape == mine.shape;
    if (!fits) return false;
  }
  for (std::size_t i = 0; i < into.size(); ++i) {
    if (into[i].bytes > 0) std::memcpy(into[i].data, outputs_[i].data, into[i].bytes);
  }
  return true;
}

std::size_t CachedAnswer::memory_bytes() const noexcept {
  return sizeof(CachedAnswer) + 32 + outputs_.capacity() * sizeof(OutputBuffer) + 16 + block_.capacity() + 16;
}

}  // namespace anya
