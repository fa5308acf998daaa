// SPDX-License-Identifier: Apache-2.0
//
// Tensors across the border: ours into ONNX Runtime's values, its values into ours.
#pragma once

#include <memory>

#include "anya/session.h"
#include "ort/handle.h"
#include "ort/runtime.h"

namespace anya::ort {

// One place of a call (an input or an output) with the value made for it last. A value over numeric memory is only an
// address and a shape, so it is kept for the next call: engines reuse their memory, and making a value costs more than
// comparing what it was made of. It is never looked at between runs. Not thread-safe.
class Place {
 public:
  explicit Place(const Api* api) : value_(nullptr, {api}) {}

  // The value over `data`, valid until the next call. Null with `*status` set where ONNX Runtime refuses.
  RawValue* wrap(const RuntimeImpl& runtime, DType dtype, const Shape& shape, void* data, std::size_t bytes,
                 Status* status) noexcept;
  // The value with a copy of the strings.
  RawValue* copy_strings(const RuntimeImpl& runtime, const TensorView& view, Status* status) noexcept;

 private:
  ValueHandle value_;
  const void* data_ = nullptr;
  std::size_t bytes_ = 0;
  DType dtype_ = DType::kUndefined;
  Shape shape_;
};

// Describes in `out` the tensor that ONNX Runtime made. Numbers are not copied: `out->owner` holds the value and the
// runtime. Strings move into one block of our own. May throw std::bad_alloc.
Status adopt(std::shared_ptr<const RuntimeImpl> runtime, ValueHandle value, OutputBuffer* out);

}  // namespace anya::ort
