// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "integrity/owned_bytes.h"
#include "integrity/safe_open.h"

namespace anya::integrity {

// Caps, all checked before memory is taken.
struct ReadLimits {
  // A model file itself: protobuf cannot hold more. Larger is kModelInvalid, the others are kModelLoadError.
  std::uint64_t max_model_bytes = (std::uint64_t{1} << 31) - 1;
  std::uint64_t max_file_bytes = std::uint64_t{16} << 30;     // one file of external weights
  std::uint64_t max_total_bytes = std::uint64_t{32} << 30;    // all files of one model
  std::uint64_t max_schema_bytes = std::uint64_t{4} << 20;    // schema.toml
  std::uint64_t max_profile_bytes = std::uint64_t{64} << 20;  // profile.json
  std::size_t max_files = 1024;
};

inline constexpr char kModelName[] = "model.onnx";
inline constexpr char kSchemaName[] = "schema.toml";
inline constexpr char kProfileName[] = "profile.json";

// One file of a model: the name it has in the model's digest, and its bytes.
struct ModelFile {
  std::string name;
  OwnedBytes bytes;
};

// The files of one model, each read exactly once into memory of our own: what is hashed is what is parsed.
// Not thread-safe. Owns the bytes until it is destroyed. Every read blocks on the disk.
class ModelFiles {
 public:
  // `path`: an .onnx file, or a directory that holds model.onnx (and schema.toml, if it likes). Links on the way to the
  // path are followed, the file itself and everything below the directory may not be one.
  static ModelFiles from_path(const std::string& path, const ReadLimits& limits = {});
  // Copies: the caller's memory may change while we look at it.
  static ModelFiles from_bytes(std::span<const std::byte> bytes, const ReadLimits& limits = {});

  // Reads a file of external weights that the model names; a second time is free. It is looked for below the model
  // directory, or, for a single file, in the folder that file lies in. Throws kModelInvalid for a name that is no plain
  // relative path, or when the model came as bytes; kModelLoadError when there is no such file.
  std::span<const std::byte> read_external(const std::string& name);

  // A file that lies beside the model but is no part of it (a signature). Nothing if there is none or no folder.
  [[nodiscard]] std::optional<OwnedBytes> read_beside(const std::string& name, std::uint64_t max_bytes) const;

  [[nodiscard]] std::span<const std::byte> model() const noexcept { return files_.front().bytes.bytes(); }
  // The model first, then schema.toml if there is one, then external files in the order they were read.
  [[nodiscard]] const std::vector<ModelFile>& files() const noexcept { return files_; }
  [[nodiscard]] std::uint64_t total_bytes() const noexcept { return total_bytes_; }
  // The name of the single file as given ("ranker.onnx"); empty for a directory or bytes.
  [[nodiscard]] const std::string& single_file() const noexcept { return single_file_; }

 private:
  explicit ModelFiles(const ReadLimits& limits) : limits_(limits) {}
  std::span<const std::byte> add(std::string name, const OpenFile& file, std::uint64_t max_bytes);

  ReadLimits limits_;
  Fd root_;  // empty for bytes
  std::string single_file_;
  std::vector<ModelFile> files_;
  std::uint64_t total_bytes_ = 0;
};

}  // namespace anya::integrity
