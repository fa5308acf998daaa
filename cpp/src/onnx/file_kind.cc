// SPDX-License-Identifier: Apache-2.0
#include "onnx/file_kind.h"

namespace anya::onnx {
namespace {

struct Magic {
  std::size_t at;
  std::string_view bytes;
  std::string_view kind;
};

using namespace std::string_view_literals;

constexpr Magic kMagics[] = {
    {0, "PK\x03\x04"sv, "a zip archive (a PyTorch checkpoint is one too); export the model to ONNX"},
    {0, "\x1f\x8b"sv, "a gzip file; unpack it first"},
    {0, "(\xb5/\xfd"sv, "a zstd file; unpack it first"},
    {0, "\x89HDF"sv, "an HDF5 file (Keras); export the model to ONNX"},
    {4, "TFL3"sv, "a TensorFlow Lite model; convert it to ONNX"},
    {0, "GGUF"sv, "a GGUF model; export the original model to ONNX"},
    {0,
     "\x7f"
     "ELF"sv,
     "a program or library"},
    {0, "version https://git-lfs"sv, "a Git LFS pointer, not the file it stands for; fetch it with 'git lfs pull'"},
    {0, "<!DOCTYPE"sv, "an HTML page; the download failed"},
    {0, "<html"sv, "an HTML page; the download failed"},
    {8, "{\""sv, "a safetensors file; export the model to ONNX"},
};

}  // namespace

bool is_ort_format(std::span<const std::byte> bytes) noexcept {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return text.size() >= 8 && text.substr(4).starts_with("ORTM");
}

std::string_view foreign_kind(std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return "empty";
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const Magic& magic : kMagics) {
    if (text.size() >= magic.at && text.substr(magic.at).starts_with(magic.bytes)) return magic.kind;
  }
  return {};
}

}  // namespace anya::onnx
