// SPDX-License-Identifier: Apache-2.0
#include "integrity/file_tree.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/text.h"
#include "integrity/hashing.h"

namespace anya::integrity {
namespace {

constexpr std::size_t kMaxFiles = 100'000;
constexpr std::size_t kMaxDepth = 64;

class Listing {
 public:
  void directory(int at, const char* name, const std::string& prefix, std::size_t depth) {
    if (depth > kMaxDepth) throw Error(ErrorCode::kTrustError, "the directory is nested deeper than 64 levels");
    const int fd = ::openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) throw_errno(prefix);
    const std::unique_ptr<DIR, int (*)(DIR*)> open(::fdopendir(fd), &::closedir);
    if (!open) throw_errno(prefix);
    while (true) {
      errno = 0;
      const dirent* const entry = ::readdir(open.get());  // NOLINT(concurrency-mt-unsafe): a stream of our own
      if (entry == nullptr && errno != 0) throw_errno(prefix);
      if (entry == nullptr) return;
      const std::string_view base = entry->d_name;
      if (base == "." || base == "..") continue;
      if (prefix.empty() && is_left_out(base)) continue;
      one(fd, entry->d_name, prefix + std::string(base), depth);
    }
  }

  std::vector<std::string> names;

 private:
  static bool is_left_out(std::string_view base) {
    return base == kSignatureName || std::ranges::find(kUnsignedPaths, base) != kUnsignedPaths.end();
  }

  void one(int at, const char* base, std::string name, std::size_t depth) {
    struct stat info{};
    if (::fstatat(at, base, &info, AT_SYMLINK_NOFOLLOW) != 0) throw_errno(name);
    if (S_ISDIR(info.st_mode)) return directory(at, base, name + "/", depth + 1);
    if (!S_ISREG(info.st_mode)) {
      throw Error(ErrorCode::kUnsafeFile, quoted(name) + " is " +
                                              (S_ISLNK(info.st_mode) ? "a symbolic link" : "not a regular file") +
                                              "; a signed directory holds files and directories alone");
    }
    const std::string fault = relative_name_fault(name);
    if (!fault.empty()) {
      throw Error(ErrorCode::kTrustError, "the file " + quoted(name) + " has a name that " + fault);
    }
    if (names.size() == kMaxFiles) throw Error(ErrorCode::kTrustError, "the directory holds more than 100000 files");
    names.push_back(std::move(name));
  }

  [[noreturn]] static void throw_errno(const std::string& name) {
    throw Error(ErrorCode::kModelLoadError,
                quoted(name.empty() ? "." : name) + " cannot be read: " + errno_text(errno));
  }
};

}  // namespace

std::vector<std::string> list_files(const Fd& root) {
  Listing listing;
  listing.directory(root.get(), ".", "", 1);
  std::ranges::sort(listing.names);
  return std::move(listing.names);
}

std::vector<Digest> hash_files(const CryptoContext& context, const Fd& root, const std::vector<std::string>& names) {
  std::vector<Digest> digests(names.size());
  in_parallel(names.size(), [&](std::size_t i) {
    const OpenFile file = open_beneath(root, names[i]);
    if (!file.fd) throw Error(ErrorCode::kFileMissing, "the signed file " + quoted(names[i]) + " is not there");
    digests[i] = hash_file(context, file);
  });
  return digests;
}

}  // namespace anya::integrity
