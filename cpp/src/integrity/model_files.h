// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "integrity/owned_bytes.h"
#include "integrity/safe_open.h"
#include "integrity/sha256.h"

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

// One file of a model: the name it has in the model's digest, its bytes, and their SHA-256.
struct ModelFile {
  std::string name;
  OwnedBytes bytes;
  Digest sha256{};
};

// The files of one model, each read exactly once into memory of our own and hashed there: what is hashed is what is
// parsed. Not thread-safe. Owns the bytes until it is destroyed. Every read blocks on the disk.
class ModelFiles {
 public:
  // `path`: an .onnx file, or a directory that holds model.onnx (and schema.toml, if it likes). Links on the way to the
  // path are followed, the file itself and everything below the directory may not be one.
  static ModelFiles from_path(const std::string& path, const ReadLimits& limits = {});
  // Copies: the caller's memory may change while we look at it.
  static ModelFiles from_bytes(std::span<const std::byte> bytes, const ReadLimits& limits = {});

  // Reads files of external weights that the model names, several at once; a second time is free. They are looked for
  // below the model directory, or, for a single file, in the folder that file lies in. Throws kModelInvalid for a name
  // that is no plain relative path, or when the model came as bytes; kModelLoadError when there is no such file.
  void read_externals(const std::vector<std::string>& names);
  std::span<const std::byte> read_external(const std::string& name);

  // Every file must pass this check: those that were read, now, and those that will be, before anybody sees a byte.
  using Expectation = std::function<void(const ModelFile&)>;
  void expect(Expectation check);

  // What the directory's profile.json holds, once it has passed the check; "" if there is none. It is no part of the
  // model, whose digest it names.
  [[nodiscard]] std::string read_profile() const;

  // A file that lies beside the model but is no part of it (a signature). Nothing if there is none or no folder.
  [[nodiscard]] OpenFile open_beside(const std::string& name) const;

  [[nodiscard]] std::span<const std::byte> model() const noexcept { return files_.front().bytes.bytes(); }
  // The model first, then schema.toml if there is one, then external files in the order they were read.
  [[nodiscard]] const std::vector<ModelFile>& files() const noexcept { return files_; }
  [[nodiscard]] std::uint64_t total_bytes() const noexcept { return total_bytes_; }
  // The name of the single file as given ("ranker.onnx"); empty for a directory or bytes.
  [[nodiscard]] const std::string& single_file() const noexcept { return single_file_; }
  // The model's directory, or the one its single file lies in; empty for bytes.
  [[nodiscard]] const Fd& root() const noexcept { return root_; }
  [[nodiscard]] const CryptoContext& crypto() const noexcept { return *crypto_; }

 private:
  // A file on its way in.
  struct Wanted {
    std::string name;
    OpenFile file;
    std::uint64_t max_bytes = 0;
  };

  explicit ModelFiles(const ReadLimits& limits) : limits_(limits), crypto_(std::make_unique<CryptoContext>()) {}
  [[nodiscard]] Wanted external(const std::string& name) const;
  [[nodiscard]] const ModelFile* find(const std::string& name) const;
  void add(std::vector<Wanted> wanted);

  ReadLimits limits_;
  std::unique_ptr<CryptoContext> crypto_;
  Expectation check_;
  Fd root_;  // empty for bytes
  std::string single_file_;
  std::vector<ModelFile> files_;
  std::uint64_t total_bytes_ = 0;
};

}  // namespace anya::integrity
