// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

#include "anya/request.h"

namespace anya {

// A question asked again by the engine itself, to replace a stale answer. Owns everything its run reads and writes, and
// itself: the last reference deletes it.
class Refresh final : public RequestOwner, public Request {
 public:
  // REQUIRES: the asked request was admitted and its key holds its values. Throws std::bad_alloc.
  Refresh(const Request& asked, std::shared_ptr<const CacheKey> kept) : Request(static_cast<RequestOwner&>(*this)) {
    inputs = asked.inputs;
    key = std::move(kept);
    keep_texts();
    key->lend(inputs);
    output_indices = asked.output_indices;
    outputs = asked.outputs;
    tenant = asked.tenant;
    rows = asked.rows;
    signature = asked.signature;
    cost_class = asked.cost_class;
    cache_question = asked.cache_question;
    cache_question.inputs = inputs;
    results_.reserve(outputs.size());
    for (OutputBuffer& output : outputs) {
      const bool is_made_by_run = output.bytes == 0 || output.dtype == DType::kString;
      results_.emplace_back(is_made_by_run ? 0 : output.bytes);
      output.data = is_made_by_run ? nullptr : results_.back().data();
    }
  }
  void reclaim(Request* request) noexcept override { delete static_cast<Refresh*>(request); }

 private:
  void keep_texts() {
    std::size_t count = 0;
    for (const TensorView& input : inputs) {
      if (input.dtype == DType::kString) count += input.bytes / sizeof(std::string_view);
    }
    texts_.reserve(count);
    views_.reserve(count);
    for (TensorView& input : inputs) {
      if (input.dtype != DType::kString) continue;
      const auto* const given = static_cast<const std::string_view*>(input.data);
      input.data = views_.data() + views_.size();
      for (std::size_t i = 0; i < input.bytes / sizeof(std::string_view); ++i) {
        views_.push_back(texts_.emplace_back(given[i]));
      }
    }
  }

  std::vector<std::string> texts_;
  std::vector<std::string_view> views_;
  std::vector<std::vector<std::byte>> results_;
};

}  // namespace anya
