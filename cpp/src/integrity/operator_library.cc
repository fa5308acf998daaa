// SPDX-License-Identifier: Apache-2.0
#include "integrity/operator_library.h"

#include <cerrno>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "anya/status.h"
#include "base/mutex.h"
#include "base/text.h"
#include "integrity/hashing.h"
#include "integrity/safe_open.h"

namespace anya::integrity {
namespace {

constexpr std::uint64_t kMaxLibraryBytes = std::uint64_t{1} << 30;
constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
constexpr unsigned kExecutable = 0x10;  // MFD_EXEC, since Linux 6.3; older ones do not know it and need it not

struct Library {
  std::string name;
  HashedBytes content;
};

Library read_library(const CryptoContext& context, const std::string& path) {
  if (path.empty() || path.front() != '/' || path.back() == '/' || path.find('\0') != std::string::npos) {
    throw Error(ErrorCode::kConfigError,
                "the library of operators " + quoted(path) + " must be named by its absolute path",
                "model_limits.custom_op_libraries");
  }
  const auto [folder, name] = folder_and_name(path);
  const OpenFile file = open_named(open_directory(folder), name);
  if (!file.fd) throw Error(ErrorCode::kModelLoadError, "there is no library of operators " + quoted(name));
  return {name, read_and_hash(context, file, kMaxLibraryBytes)};
}

RegisteredFile described(const Library& library) {
  return {library.name, library.content.bytes.size(), to_hex(library.content.digest)};
}

[[noreturn]] void throw_unsealed(const std::string& name, const char* what) {
  throw Error(ErrorCode::kModelLoadError, "the library of operators " + quoted(name) +
                                              " cannot be kept in sealed memory: " + what + " failed (" +
                                              errno_text(errno) + ")");
}

Fd sealed_copy(const std::string& name, std::span<const std::byte> bytes) {
  Fd fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING | kExecutable));
  if (!fd && errno == EINVAL) fd = Fd(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) throw_unsealed(name, "memfd_create");
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) throw_unsealed(name, "write");
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) throw_unsealed(name, "F_ADD_SEALS");
  return fd;
}

// The sealed copies of this process, by their SHA-256. Descriptors are never closed: the linker knows a library by the
// path it was opened under, so that a number used again would give the code that had it before.
class Kept {
 public:
  std::string path(const std::string& sha256, const Library& library) {
    MutexLock lock(mutex_);
    auto found = copies_.find(sha256);
    if (found == copies_.end()) {
      Fd fd = sealed_copy(library.name, library.content.bytes.bytes());
      struct stat info{};
      if (::fstat(fd.get(), &info) != 0) throw_unsealed(library.name, "fstat");
      found = copies_.emplace(sha256, Copy{fd.get(), info.st_dev, info.st_ino}).first;
      static_cast<void>(fd.release());
    }
    struct stat info{};
    const Copy& copy = found->second;
    if (::fstat(copy.fd, &info) != 0 || info.st_dev != copy.device || info.st_ino != copy.file) {
      throw Error(ErrorCode::kModelLoadError,
                  "the sealed copy of the library of operators " + quoted(library.name) +
                      " is gone: something in this process has closed descriptors that are not its own; restart it");
    }
    return "/proc/self/fd/" + std::to_string(copy.fd);
  }

 private:
  struct Copy {
    int fd = -1;
    dev_t device = 0;
    ino_t file = 0;
  };

  Mutex mutex_;
  std::map<std::string, Copy> copies_ GUARDED_BY(mutex_);
};

}  // namespace

OperatorLibrary keep_operator_library(const CryptoContext& context, const std::string& path,
                                      const std::string& sha256) {
  static auto& kept = *new Kept;  // never ends: the code in it may run until the process does
  const Library library = read_library(context, path);
  const RegisteredFile file = described(library);
  if (file.sha256 != sha256) {
    throw Error(ErrorCode::kHashMismatch, "the library of operators " + quoted(library.name) +
                                              " is not the one that was configured (" + file.sha256.substr(0, 16) +
                                              "… instead of " + sha256.substr(0, 16) +
                                              "…); put that one back, or change custom_op_libraries");
  }
  return {library.name, model_digest(context, std::vector<RegisteredFile>{file}), kept.path(sha256, library)};
}

RegisteredFile identify_operator_library(const CryptoContext& context, const std::string& path) {
  return described(read_library(context, path));
}

}  // namespace anya::integrity
