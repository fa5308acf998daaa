// SPDX-License-Identifier: Apache-2.0
#include "ort/value.h"

#include <cstring>
#include <string_view>
#include <utility>

#include "ort/error.h"

namespace anya::ort {
namespace {

// A value that ONNX Runtime made, as the owner of an output.
struct OwnedValue {
  std::shared_ptr<const RuntimeImpl> runtime;
  ValueHandle value;

  OwnedValue(std::shared_ptr<const RuntimeImpl> r, ValueHandle v) : runtime(std::move(r)), value(std::move(v)) {}
  OwnedValue(const OwnedValue&) = delete;
  OwnedValue& operator=(const OwnedValue&) = delete;
  ~OwnedValue() {
    // In a forked child the arena's lock may be held by a thread that does not exist.
    if (!runtime->is_owner()) static_cast<void>(value.release());
  }
};

// One allocation: the views, then the offsets ONNX Runtime writes, then the characters.
Status adopt_strings(const Api& api, const RawValue* value, std::size_t count, OutputBuffer* out) {
  std::size_t length = 0;
  if (RawStatus* status = api.get_string_tensor_data_length(value, &length)) return to_status(api, status);
  const std::size_t head = count * (sizeof(std::string_view) + sizeof(std::size_t));
  auto block = std::make_shared_for_overwrite<std::byte[]>(head + length + 1);  // never empty: `data` is not null
  auto* const views = reinterpret_cast<std::string_view*>(block.get());
  auto* const offsets = reinterpret_cast<std::size_t*>(block.get() + count * sizeof(std::string_view));
  char* const text = reinterpret_cast<char*>(block.get() + head);
  if (count > 0) {
    RawStatus* status = api.get_string_tensor_content(value, text, length, offsets, count);
    if (status != nullptr) return to_status(api, status);
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t end = i + 1 < count ? offsets[i + 1] : length;
    new (views + i) std::string_view(text + offsets[i], end - offsets[i]);
  }
  out->data = views;
  out->bytes = count * sizeof(std::string_view);
  out->owner = std::move(block);
  return {};
}

}  // namespace

RawValue* Place::wrap(const RuntimeImpl& runtime, DType dtype, const Shape& shape, void* data, std::size_t bytes,
                      Status* status) noexcept {
  if (value_ && data == data_ && bytes == bytes_ && dtype == dtype_ && shape == shape_) return value_.get();
  const Api& api = runtime.api();
  value_.reset();
  RawValue* raw = nullptr;
  RawStatus* refusal = api.create_tensor_with_data(runtime.cpu_memory(), data, bytes, shape.data(), shape.rank(),
                                                   static_cast<int>(dtype), &raw);
  if (refusal != nullptr) {
    *status = to_status(api, refusal);
    return nullptr;
  }
  value_.reset(raw);
  data_ = data;
  bytes_ = bytes;
  dtype_ = dtype;
  shape_ = shape;
  return raw;
}

RawValue* Place::copy_strings(const RuntimeImpl& runtime, const TensorView& view, Status* status) noexcept {
  const Api& api = runtime.api();
  data_ = nullptr;  // strings are copied each time: what they were made of may have changed in place
  value_.reset();
  RawValue* raw = nullptr;
  RawStatus* refusal = api.create_tensor(runtime.allocator(), view.shape.data(), view.shape.rank(),
                                         static_cast<int>(DType::kString), &raw);
  if (refusal == nullptr) value_.reset(raw);
  const auto* const strings = static_cast<const std::string_view*>(view.data);
  const std::size_t count = view.bytes / sizeof(std::string_view);
  for (std::size_t i = 0; refusal == nullptr && i < count; ++i) {
    char* buffer = nullptr;
    refusal = api.get_resized_string_element(raw, i, strings[i].size(), &buffer);
    if (refusal == nullptr && !strings[i].empty()) std::memcpy(buffer, strings[i].data(), strings[i].size());
  }
  if (refusal == nullptr) return raw;
  *status = to_status(api, refusal);
  value_.reset();
  return nullptr;
}

Status adopt(std::shared_ptr<const RuntimeImpl> runtime, ValueHandle value, OutputBuffer* out) {
  const Api& api = runtime->api();
  int type = 0;
  const std::int64_t* dims = nullptr;
  std::size_t rank = 0;
  if (RawStatus* status = api.get_tensor_type_and_shape(value.get(), &type, &dims, &rank)) {
    return to_status(api, status);
  }
  const auto dtype = static_cast<DType>(type);
  if (rank > kMaxRank) {
    return Status::with_text(ErrorCode::kExecutionError, "an output came out with " + std::to_string(rank) +
                                                             " axes; the limit is " + std::to_string(kMaxRank));
  }
  out->dtype = dtype;
  out->shape = Shape(std::span<const std::int64_t>(dims, rank));
  std::uint64_t count = 0;
  if (!out->shape.element_count(&count)) {
    return Status::with_text(ErrorCode::kExecutionError,
                             "an output came out with the impossible shape " + out->shape.to_string());
  }
  if (dtype == DType::kString) return adopt_strings(api, value.get(), static_cast<std::size_t>(count), out);

  void* data = nullptr;
  if (RawStatus* status = api.get_tensor_mutable_data(value.get(), &data)) return to_status(api, status);
  auto owned = std::make_shared<OwnedValue>(std::move(runtime), std::move(value));
  out->bytes = static_cast<std::size_t>(count) * element_size(dtype);
  // An empty output has no memory of its own in ONNX Runtime; `data` stays non-null so that it reads as given.
  out->data = data != nullptr ? data : owned.get();
  out->owner = std::move(owned);
  return {};
}

}  // namespace anya::ort
