// SPDX-License-Identifier: Apache-2.0
#include "ort/error.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <exception>

#include "ort/handle.h"

namespace anya::ort {
namespace {

bool in_path(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '/' || c == '.' ||
         c == '_' || c == '-' || c == '+';
}

// A source file of ONNX Runtime; a node named "/encoder/layer.0/MatMul" is not one and stays as it is.
bool is_source_file(std::string_view path) noexcept {
  constexpr std::array<std::string_view, 9> kSuffixes = {".cc",  ".h", ".cpp", ".hpp", ".cu",
                                                         ".cuh", ".c", ".inl", ".inc"};
  return std::ranges::any_of(kSuffixes, [&](std::string_view s) { return path.ends_with(s); });
}

void append_printable(std::string* out, std::string_view text) {
  for (const char c : text) out->push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? ' ' : c);
}

}  // namespace

std::string clean_text(std::string_view text) {
  constexpr std::string_view kMore = "...";
  text = text.substr(0, 4 * kMaxErrorText);  // bounds the work; paths are cut before the text is
  std::string out;
  out.reserve(std::min(text.size(), kMaxErrorText));
  std::size_t i = 0;
  while (i < text.size()) {
    if (text[i] != '/' || (i > 0 && in_path(text[i - 1]))) {
      append_printable(&out, text.substr(i, 1));
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < text.size() && in_path(text[end])) ++end;
    const std::string_view path = text.substr(i, end - i);
    out.append(is_source_file(path) ? path.substr(path.rfind('/') + 1) : path);
    i = end;
  }
  if (out.size() <= kMaxErrorText) return out;
  std::size_t cut = kMaxErrorText - kMore.size();
  while (cut > 0 && (static_cast<unsigned char>(out[cut]) & 0xC0) == 0x80) --cut;  // not within a character
  out.resize(cut);
  return out.append(kMore);
}

bool tells_of_memory(std::string_view text) noexcept {
  constexpr std::array<std::string_view, 7> kSigns = {
      "Failed to allocate",           "bad_alloc",    "BFCArena",     "out of memory",
      "smaller than requested bytes", "ALLOC_FAILED", "Out of memory"};
  return std::ranges::any_of(kSigns, [&](std::string_view sign) { return text.find(sign) != std::string_view::npos; });
}

bool tells_of_lost_device(std::string_view text) noexcept {
  // ONNX Runtime gives the code and CUDA's own words: "CUDA failure 700: an illegal memory access was encountered".
  // These are the codes after which cuda_runtime_api.h says that "the process must be terminated and relaunched".
  constexpr std::array<std::string_view, 10> kSigns = {
      "CUDA failure 214:",  // uncorrectable ECC error
      "CUDA failure 700:",  // illegal address
      "CUDA failure 702:",  // launch timeout
      "CUDA failure 710:",  // device-side assert
      "CUDA failure 714:",  // hardware stack error
      "CUDA failure 715:",  // illegal instruction
      "CUDA failure 716:",  // misaligned address
      "CUDA failure 717:",  // invalid address space
      "CUDA failure 718:",  // invalid program counter
      "CUDA failure 719:",  // launch failure
  };
  return std::ranges::any_of(kSigns, [&](std::string_view sign) { return text.find(sign) != std::string_view::npos; });
}

bool tells_of_shape(std::string_view text) noexcept {
  constexpr std::array<std::string_view, 3> kSigns = {"shape", "dimension", "rank"};
  return std::ranges::any_of(kSigns, [&](std::string_view sign) { return text.find(sign) != std::string_view::npos; });
}

void check(const Api& api, RawStatus* status, ErrorCode code, std::string_view what) {
  if (status == nullptr) return;
  const StatusHandle owned(status, {&api});
  const std::string_view text = api.get_error_message(status);
  if (tells_of_memory(text)) code = ErrorCode::kOutOfMemory;
  throw Error(code, std::string(what) + ": " + clean_text(text));
}

Status to_status(const Api& api, RawStatus* status) noexcept {
  if (status == nullptr) return {};
  const StatusHandle owned(status, {&api});
  const std::string_view text = api.get_error_message(status);
  const ErrorCode code = tells_of_memory(text) ? ErrorCode::kOutOfMemory : ErrorCode::kExecutionError;
  try {
    Status failure = Status::with_text(code, clean_text(text));
    if (tells_of_lost_device(text)) failure.reason = Reason::kDeviceFailed;
    return failure;
  } catch (const std::exception&) {
    return Status::failure(code, Reason::kNone);  // no memory for the sentence: the code has to do
  }
}

}  // namespace anya::ort
