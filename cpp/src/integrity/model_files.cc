// SPDX-License-Identifier: Apache-2.0
#include "integrity/model_files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/stat.h>

#include "base/text.h"

namespace anya::integrity {
namespace {

// Names that mean something else in a model directory: weights under such a name would be two things at once.
constexpr const char* kReservedNames[] = {kModelName, kSchemaName, "model.sig", kProfileName};

void check_model_size(std::uint64_t size, const ReadLimits& limits) {
  if (size <= limits.max_model_bytes) return;
  throw Error(ErrorCode::kModelInvalid, "the model holds " + std::to_string(size) + " bytes, an ONNX file can hold " +
                                            std::to_string(limits.max_model_bytes) +
                                            " at most; save its weights as external data");
}

// "a/b/m.onnx" -> "a/b", "m.onnx"
std::pair<std::string, std::string> split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

ModelFiles ModelFiles::from_path(const std::string& path, const ReadLimits& limits) {
  if (path.empty()) throw Error(ErrorCode::kModelLoadError, "the model's path is empty");
  if (path.find('\0') != std::string::npos) throw Error(ErrorCode::kModelLoadError, "the model's path has a NUL in it");
  ModelFiles files(limits);
  struct stat info{};
  const bool directory = ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
  if (directory) {
    files.root_ = open_directory(path);
    OpenFile model = open_beneath(files.root_, kModelName);
    if (!model.fd) {
      throw Error(ErrorCode::kModelLoadError, "the directory " + quoted(split(path).second) + " holds no model.onnx");
    }
    check_model_size(model.size, limits);
    files.add(kModelName, model, limits.max_model_bytes);
    const OpenFile schema = open_beneath(files.root_, kSchemaName);
    if (schema.fd) files.add(kSchemaName, schema, limits.max_schema_bytes);
    return files;
  }
  const auto [parent, base] = split(path);
  files.single_file_ = base;
  files.root_ = open_directory(parent);
  const OpenFile model = open_named(files.root_, base);
  if (!model.fd) throw Error(ErrorCode::kModelLoadError, "there is no file or directory " + quoted(base));
  check_model_size(model.size, limits);
  // Named as in a directory, so that the same content has the same digest wherever it came from.
  files.add(kModelName, model, limits.max_model_bytes);
  return files;
}

ModelFiles ModelFiles::from_bytes(std::span<const std::byte> bytes, const ReadLimits& limits) {
  ModelFiles files(limits);
  check_model_size(bytes.size(), limits);
  OwnedBytes copy(bytes.size());
  if (!bytes.empty()) std::memcpy(copy.writable().data(), bytes.data(), bytes.size());
  files.total_bytes_ = bytes.size();
  files.files_.push_back({kModelName, std::move(copy)});
  return files;
}

std::span<const std::byte> ModelFiles::read_external(const std::string& name) {
  const std::string fault = relative_name_fault(name);
  if (!fault.empty()) {
    throw Error(ErrorCode::kModelInvalid, "the model keeps weights in " + quoted(name) + ", a name that " + fault +
                                              "; it must be a plain path below the model's folder");
  }
  if (std::find(std::begin(kReservedNames), std::end(kReservedNames), name) != std::end(kReservedNames)) {
    throw Error(ErrorCode::kModelInvalid,
                "the model keeps weights in " + quoted(name) + ", a name with a meaning of its own");
  }
  if (!root_) {
    throw Error(ErrorCode::kModelInvalid, "the model keeps weights in the file " + quoted(name) +
                                              ", but it was given as bytes; load its directory instead");
  }
  for (const ModelFile& file : files_) {
    if (file.name == name) return file.bytes.bytes();
  }
  const OpenFile file = open_beneath(root_, name);
  if (!file.fd) {
    throw Error(ErrorCode::kModelLoadError, "the model keeps weights in " + quoted(name) + ", which does not exist");
  }
  return add(name, file, limits_.max_file_bytes);
}

std::optional<OwnedBytes> ModelFiles::read_beside(const std::string& name, std::uint64_t max_bytes) const {
  if (!root_) return std::nullopt;
  const OpenFile file = open_beneath(root_, name);
  if (!file.fd) return std::nullopt;
  return read_whole(file, max_bytes);
}

std::span<const std::byte> ModelFiles::add(std::string name, const OpenFile& file, std::uint64_t max_bytes) {
  if (files_.size() >= limits_.max_files) {
    throw Error(ErrorCode::kModelLoadError,
                "the model names more than " + std::to_string(limits_.max_files) + " files");
  }
  const std::uint64_t left = limits_.max_total_bytes - total_bytes_;
  if (file.size > left) {
    throw Error(ErrorCode::kModelLoadError, "the model's files hold " + std::to_string(total_bytes_ + file.size) +
                                                " bytes or more, the limit is " +
                                                std::to_string(limits_.max_total_bytes));
  }
  OwnedBytes bytes = read_whole(file, max_bytes);
  total_bytes_ += bytes.size();
  files_.push_back({std::move(name), std::move(bytes)});
  return files_.back().bytes.bytes();  // the memory stays where it is when the vector grows
}

}  // namespace anya::integrity
