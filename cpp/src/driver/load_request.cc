// SPDX-License-Identifier: Apache-2.0
#include "driver/load_request.h"

#include <chrono>
#include <new>
#include <thread>

namespace anya {

Status LoadRequest::prepare(Model& model, std::span<const TensorView> question) noexcept {
  try {
    const std::size_t count = model.schema().outputs.size();
    inputs.assign(question.begin(), question.end());
    output_indices.resize(count);
    for (std::size_t i = 0; i < count; ++i) output_indices[i] = static_cast<std::uint32_t>(i);
    if (Status refusal = model.admit(*this); !refusal.ok()) return refusal;
    memory_.resize(count);
    for (std::size_t i = 0; i < count; ++i) {
      OutputBuffer& output = outputs[i];
      if (output.bytes == 0 || output.dtype == DType::kString) continue;  // made by the run
      if (memory_[i].size() < output.bytes) memory_[i].resize(output.bytes);
      output.data = memory_[i].data();
    }
    return {};
  } catch (const std::bad_alloc&) {
    return Status::failure(ErrorCode::kOutOfMemory, Reason::kNone);
  }
}

bool LoadRequest::is_well_formed(const ModelSchema& schema) const noexcept {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const OutputBuffer& output = outputs[i];
    std::uint64_t elements = 0;
    if (output.dtype != schema.outputs[output_indices[i]].dtype || !output.shape.element_count(&elements)) return false;
    if (output.bytes != elements * element_size(output.dtype)) return false;
    if (output.bytes != 0 && output.data == nullptr) return false;
  }
  return true;
}

LoadPool::~LoadPool() {
  // The engine lets go of a request right after its outcome is known, so this is over at once.
  for (take_returned(); free_.size() < all_.size(); take_returned()) {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

LoadRequest* LoadPool::get() {
  if (free_.empty()) take_returned();
  if (free_.empty()) {
    free_.reserve(all_.size() + 1);
    all_.push_back(std::make_unique<LoadRequest>(*this));
    return all_.back().get();
  }
  LoadRequest* const request = free_.back();
  free_.pop_back();
  return request;
}

void LoadPool::take_returned() noexcept {
  Request* request = returned_.take_all();
  while (request != nullptr) {
    Request* const next = request->next_completed;
    request->reset();
    free_.push_back(static_cast<LoadRequest*>(request));
    request = next;
  }
}

}  // namespace anya
