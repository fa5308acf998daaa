// SPDX-License-Identifier: Apache-2.0
#include "cache/asker.h"

#include "cache/question.h"

namespace anya::cache {

void Asker::ask(std::string_view tenant, std::span<const std::uint32_t> outputs, std::span<const TensorView> inputs,
                CacheQuestion& question) const {
  question.inputs = inputs;
  write_header(tenant, outputs, inputs, question.header);
  std::size_t end = 0;
  walk(question.header, inputs, [&end](const void*, std::size_t size, bool starts) {
    place(end, size, starts);
    return true;
  });
  question.bytes = end;
  question.by_mac = end > ResponseCache::kLargeQuestion;
  question.hashed = false;
  question.sketch = 0;
  question.mac = {};
  if (question.by_mac) {
    KeyMac::Stream stream(mac_);
    walk(question.header, inputs, [&stream](const void* data, std::size_t size, bool) {
      stream.update(data, size);
      return true;
    });
    question.mac = stream.finish();
    question.hash = question.mac[0];
    question.hashed = true;
  } else if (end < ResponseCache::kLongQuestion) {
    hash(question);
  } else {
    sketch(question);
  }
}

void Asker::hash(CacheQuestion& question) const noexcept {
  question.hash = 0;
  walk(question.header, question.inputs, [&](const void* data, std::size_t size, bool) {
    question.hash = index_.piece(data, size, question.hash);
    return true;
  });
  question.hashed = true;
}

void Asker::sketch(CacheQuestion& question) const noexcept {
  constexpr std::size_t kSamples = 32;
  constexpr std::size_t kSample = 64;
  std::uint64_t state = 1;
  walk(question.header, question.inputs, [&](const void* data, std::size_t size, bool) {
    if (size <= kSamples * kSample) {
      state = index_.piece(data, size, state);
      return true;
    }
    const std::size_t step = (size - kSample) / (kSamples - 1);
    for (std::size_t i = 0; i < kSamples; ++i) {
      state = index_.piece(static_cast<const std::byte*>(data) + i * step, kSample, state);
    }
    return true;
  });
  question.sketch = state | 1U;
}

}  // namespace anya::cache
