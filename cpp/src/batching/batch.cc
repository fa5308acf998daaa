// SPDX-License-Identifier: Apache-2.0
#include "batching/batch.h"

#include <cstring>
#include <new>
#include <string>
#include <string_view>

namespace anya {
namespace {

Status no_memory(std::string what) { return Status::with_text(ErrorCode::kOutOfMemory, std::move(what)); }

// Rows of strings, copied with their text into one block of their own.
std::shared_ptr<void> copy_strings(const std::string_view* strings, std::size_t count) {
  std::size_t text = 0;
  for (std::size_t i = 0; i < count; ++i) text += strings[i].size();
  void* const block = std::malloc(count * sizeof(std::string_view) + text + 1);
  if (block == nullptr) throw std::bad_alloc();
  std::shared_ptr<void> owner(block, std::free);
  auto* const views = static_cast<std::string_view*>(block);
  char* at = static_cast<char*>(block) + count * sizeof(std::string_view);
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(at, strings[i].data(), strings[i].size());
    new (&views[i]) std::string_view(at, strings[i].size());
    at += strings[i].size();
  }
  return owner;
}

Status gather(const ModelSchema& schema, Instance& instance, std::span<Request* const> requests, std::int64_t rows) {
  const std::size_t count = schema.inputs.size();
  instance.input_slabs.resize(count);
  instance.inputs.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t bytes = 0;
    for (const Request* request : requests) bytes += request->inputs[i].bytes;
    std::byte* at = instance.input_slabs[i].reserve(bytes);
    if (at == nullptr) return no_memory("no memory for a batch of " + std::to_string(bytes) + " bytes");
    TensorView& view = instance.inputs[i];
    view = requests.front()->inputs[i];
    view.shape[0] = rows;
    view.data = at;
    view.bytes = bytes;
    for (const Request* request : requests) {
      std::memcpy(at, request->inputs[i].data, request->inputs[i].bytes);
      at += request->inputs[i].bytes;
    }
  }
  return {};
}

Status prepare_outputs(const ModelSchema& schema, Instance& instance, const Request& first, std::int64_t rows,
                       const std::vector<bool>& predictable) {
  const std::size_t count = first.output_indices.size();
  instance.output_slabs.resize(schema.outputs.size());
  instance.outputs.clear();
  instance.outputs.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint32_t index = first.output_indices[i];
    OutputBuffer& output = instance.outputs[i];
    output.dtype = schema.outputs[index].dtype;
    if (!predictable[index]) continue;
    output.shape = schema.outputs[index].shape;
    output.shape[0] = rows;
    std::uint64_t elements = 0;
    if (!output.shape.element_count(&elements)) return no_memory("an output larger than memory");
    output.bytes = elements * element_size(output.dtype);
    output.data = instance.output_slabs[index].reserve(output.bytes);
    if (output.data == nullptr)
      return no_memory("no memory for an output of " + std::to_string(output.bytes) + " bytes");
  }
  return {};
}

Status scatter(const ModelSchema& schema, Instance& instance, std::span<Request* const> requests, std::int64_t rows) {
  const Request& first = *requests.front();
  for (std::size_t i = 0; i < instance.outputs.size(); ++i) {
    const OutputBuffer& all = instance.outputs[i];
    if (all.shape.rank() == 0 || all.shape[0] != rows) {
      return Status::with_text(ErrorCode::kExecutionError,
                               "output '" + schema.outputs[first.output_indices[i]].name + "' has shape " +
                                   all.shape.to_string() + " for " + std::to_string(rows) +
                                   " rows, so its rows cannot be told apart; load the model with max_batch_size=1");
    }
    const std::size_t row_bytes = all.bytes / static_cast<std::size_t>(rows);
    const auto* at = static_cast<const std::byte*>(all.data);
    for (Request* request : requests) {
      OutputBuffer& mine = request->outputs[i];
      const std::size_t bytes = row_bytes * static_cast<std::size_t>(request->rows);
      Shape shape = all.shape;
      shape[0] = request->rows;
      if (mine.data != nullptr && mine.shape == shape) {
        std::memcpy(mine.data, at, bytes);
      } else {
        mine.dtype = all.dtype;
        mine.shape = shape;
        mine.bytes = bytes;
        if (all.dtype == DType::kString) {
          mine.owner = copy_strings(reinterpret_cast<const std::string_view*>(at), bytes / sizeof(std::string_view));
        } else {
          void* const copy = std::malloc(bytes == 0 ? 1 : bytes);
          if (copy == nullptr) throw std::bad_alloc();
          mine.owner = std::shared_ptr<void>(copy, std::free);
          std::memcpy(copy, at, bytes);
        }
        mine.data = mine.owner.get();
      }
      at += bytes;
    }
  }
  return {};
}

}  // namespace

std::byte* Slab::reserve(std::size_t bytes) noexcept {
  if (bytes > capacity_ || memory_ == nullptr) {
    constexpr std::size_t kAlignment = 64;
    const std::size_t wanted = (bytes + bytes / 2 + kAlignment) / kAlignment * kAlignment;
    memory_.reset();
    memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kAlignment, wanted)));
    capacity_ = memory_ == nullptr ? 0 : wanted;
  }
  return memory_.get();
}

Status run_alone(Session& session, Instance& instance, Request& request) noexcept {
  return session.run(*instance.control, request.inputs, request.output_indices, request.outputs);
}

Status run_together(Session& session, Instance& instance, std::span<Request* const> requests,
                    const std::vector<bool>& predictable) noexcept {
  try {
    std::int64_t rows = 0;
    for (const Request* request : requests) rows += request->rows;
    const ModelSchema& schema = session.schema();
    Status status = gather(schema, instance, requests, rows);
    if (status.ok()) status = prepare_outputs(schema, instance, *requests.front(), rows, predictable);
    if (status.ok()) {
      status = session.run(*instance.control, instance.inputs, requests.front()->output_indices, instance.outputs);
    }
    if (status.ok()) status = scatter(schema, instance, requests, rows);
    return status;
  } catch (const std::bad_alloc&) {
    return Status::failure(ErrorCode::kOutOfMemory, Reason::kNone);
  }
}

void let_go_of_outputs(Instance& instance) noexcept {
  for (OutputBuffer& output : instance.outputs) output.owner.reset();
}

}  // namespace anya
