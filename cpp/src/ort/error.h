// SPDX-License-Identifier: Apache-2.0
//
// The one door through which ONNX Runtime's errors become ours.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "anya/status.h"
#include "ort/api.h"

namespace anya::ort {

// ONNX Runtime's error codes that we tell apart.
inline constexpr int kCodeFail = 1;
inline constexpr int kCodeRuntimeException = 6;
inline constexpr int kCodeEpFail = 11;

inline constexpr std::size_t kMaxErrorText = 1024;

// One line, bounded, without the absolute source paths that ONNX Runtime puts into its messages.
std::string clean_text(std::string_view text);

// True where the text tells of memory that could not be had: ONNX Runtime has no code for it.
bool tells_of_memory(std::string_view text) noexcept;

// True where the text tells of a device that this process cannot use any more, as after an illegal access: CUDA calls
// such errors sticky, since every later call fails with them.
bool tells_of_lost_device(std::string_view text) noexcept;

// True where the text may tell of an output that has another shape than the memory for it. ONNX Runtime has no code for
// that either, and several sentences: true is a reason to try without that memory, no more.
bool tells_of_shape(std::string_view text) noexcept;

// Cold path. Does nothing on success; else releases `status` and throws `code` (kOutOfMemory where memory was the
// reason) with "what: ONNX Runtime's text".
void check(const Api& api, RawStatus* status, ErrorCode code, std::string_view what);

// Hot path. Releases `status`: kOk, kExecutionError or kOutOfMemory.
Status to_status(const Api& api, RawStatus* status) noexcept;

// Releases a status whose content does not matter.
inline void ignore(const Api& api, RawStatus* status) noexcept {
  if (status != nullptr) api.release_status(status);
}

}  // namespace anya::ort
