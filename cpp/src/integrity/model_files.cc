// SPDX-License-Identifier: Apache-2.0
#include "integrity/model_files.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/stat.h>

#include "base/text.h"
#include "integrity/hashing.h"

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
      throw Error(ErrorCode::kModelLoadError,
                  "the directory " + quoted(folder_and_name(path).second) + " holds no model.onnx");
    }
    check_model_size(model.size, limits);
    std::vector<Wanted> wanted;
    wanted.push_back({kModelName, std::move(model), limits.max_model_bytes});
    OpenFile schema = open_beneath(files.root_, kSchemaName);
    if (schema.fd) wanted.push_back({kSchemaName, std::move(schema), limits.max_schema_bytes});
    files.add(std::move(wanted));
    return files;
  }
  const auto [parent, base] = folder_and_name(path);
  files.single_file_ = base;
  files.root_ = open_directory(parent);
  OpenFile model = open_named(files.root_, base);
  if (!model.fd) throw Error(ErrorCode::kModelLoadError, "there is no file or directory " + quoted(base));
  check_model_size(model.size, limits);
  // Named as in a directory, so that the same content has the same digest wherever it came from.
  std::vector<Wanted> wanted;
  wanted.push_back({kModelName, std::move(model), limits.max_model_bytes});
  files.add(std::move(wanted));
  return files;
}

ModelFiles ModelFiles::from_bytes(std::span<const std::byte> bytes, const ReadLimits& limits) {
  ModelFiles files(limits);
  check_model_size(bytes.size(), limits);
  OwnedBytes copy(bytes.size());
  if (!bytes.empty()) std::memcpy(copy.writable().data(), bytes.data(), bytes.size());
  files.total_bytes_ = bytes.size();
  const Digest digest = sha256(*files.crypto_, copy.bytes());
  files.files_.push_back({kModelName, std::move(copy), digest});
  return files;
}

ModelFiles::Wanted ModelFiles::external(const std::string& name) const {
  const std::string fault = relative_name_fault(name);
  if (!fault.empty()) {
    throw Error(ErrorCode::kModelInvalid, "the model keeps weights in " + quoted(name) + ", a name that " + fault +
                                              "; it must be a plain path below the model's folder");
  }
  if (std::ranges::find(kReservedNames, name) != std::end(kReservedNames)) {
    throw Error(ErrorCode::kModelInvalid,
                "the model keeps weights in " + quoted(name) + ", a name with a meaning of its own");
  }
  if (!root_) {
    throw Error(ErrorCode::kModelInvalid, "the model keeps weights in the file " + quoted(name) +
                                              ", but it was given as bytes; load its directory instead");
  }
  OpenFile file = open_beneath(root_, name);
  if (!file.fd) {
    throw Error(ErrorCode::kModelLoadError, "the model keeps weights in " + quoted(name) + ", which does not exist");
  }
  return {name, std::move(file), limits_.max_file_bytes};
}

const ModelFile* ModelFiles::find(const std::string& name) const {
  const auto found = std::ranges::find(files_, name, &ModelFile::name);
  return found == files_.end() ? nullptr : &*found;
}

void ModelFiles::read_externals(const std::vector<std::string>& names) {
  std::vector<Wanted> wanted;
  for (const std::string& name : names) {
    const bool twice = std::ranges::any_of(wanted, [&](const Wanted& other) { return other.name == name; });
    const bool reserved = name == kModelName || name == kSchemaName;  // refused, though it has been read
    if (!twice && (reserved || find(name) == nullptr)) wanted.push_back(external(name));
  }
  add(std::move(wanted));
}

std::span<const std::byte> ModelFiles::read_external(const std::string& name) {
  read_externals({name});
  return find(name)->bytes.bytes();
}

void ModelFiles::expect(Expectation check) {
  check_ = std::move(check);
  for (const ModelFile& file : files_) check_(file);
}

std::string ModelFiles::read_profile() const {
  if (!root_ || !single_file_.empty()) return {};
  const OpenFile found = open_beneath(root_, kProfileName);
  if (!found.fd) return {};
  HashedBytes read = read_and_hash(*crypto_, found, limits_.max_profile_bytes);
  const ModelFile file{kProfileName, std::move(read.bytes), read.digest};
  if (check_) check_(file);
  return {reinterpret_cast<const char*>(file.bytes.bytes().data()), file.bytes.size()};
}

OpenFile ModelFiles::open_beside(const std::string& name) const {
  return root_ ? open_beneath(root_, name) : OpenFile{};
}

void ModelFiles::add(std::vector<Wanted> wanted) {
  if (wanted.size() > limits_.max_files - files_.size()) {
    throw Error(ErrorCode::kModelLoadError,
                "the model names more than " + std::to_string(limits_.max_files) + " files");
  }
  for (const Wanted& each : wanted) {
    if (__builtin_add_overflow(total_bytes_, each.file.size, &total_bytes_) || total_bytes_ > limits_.max_total_bytes) {
      throw Error(ErrorCode::kModelLoadError, "the model's files hold " + std::to_string(total_bytes_) +
                                                  " bytes or more, the limit is " +
                                                  std::to_string(limits_.max_total_bytes));
    }
  }
  std::vector<HashedBytes> read(wanted.size());
  in_parallel(wanted.size(),
              [&](std::size_t i) { read[i] = read_and_hash(*crypto_, wanted[i].file, wanted[i].max_bytes); });
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    ModelFile file{std::move(wanted[i].name), std::move(read[i].bytes), read[i].digest};
    if (check_) check_(file);
    files_.push_back(std::move(file));  // the memory stays where it is when the vector grows
  }
}

}  // namespace anya::integrity
