// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace anya::onnx {

// True if ONNX Runtime would read these bytes as its own flatbuffer format.
bool is_ort_format(std::span<const std::byte> bytes) noexcept;

// For bytes that are no ONNX model: what they are instead ("empty", "a zip archive ..."), or "" when nobody knows.
// Pure; thread-safe.
std::string_view foreign_kind(std::span<const std::byte> bytes) noexcept;

}  // namespace anya::onnx
