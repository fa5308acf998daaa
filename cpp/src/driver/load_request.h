// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "anya/model.h"
#include "anya/request.h"
#include "anya/request_stack.h"

namespace anya {

// A request of the driver's, with memory for its answer that it keeps from use to use.
class LoadRequest final : public Request {
 public:
  using Request::Request;

  // Makes it ask `question`, and admits it. Never throws: no memory is kOutOfMemory.
  Status prepare(Model& model, std::span<const TensorView> question) noexcept;
  // Whether a good answer's tensors are what the schema says, in memory that is there.
  [[nodiscard]] bool is_well_formed(const ModelSchema& schema) const noexcept;

  Nanos asked_at = 0;  // where its latency starts
  bool measured = false;

 private:
  std::vector<std::vector<std::byte>> memory_;  // per output
};

// The driver's requests, used again as soon as the engine lets go of them.
// One thread gets; reclaim may be called by any thread. Owns the requests; its end blocks until all have come back.
class LoadPool final : public RequestOwner {
 public:
  LoadPool() = default;
  ~LoadPool() override;
  LoadPool(const LoadPool&) = delete;
  LoadPool& operator=(const LoadPool&) = delete;

  // A fresh request with one reference, the caller's. Throws std::bad_alloc.
  LoadRequest* get();
  void reclaim(Request* request) noexcept override { returned_.push(request); }

 private:
  void take_returned() noexcept;

  std::vector<std::unique_ptr<LoadRequest>> all_;
  std::vector<LoadRequest*> free_;  // room for all_
  RequestStack<&Request::next_completed> returned_;
};

}  // namespace anya
