// SPDX-License-Identifier: Apache-2.0
#include "integrity/safe_open.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/text.h"

namespace anya::integrity {
namespace {

constexpr std::size_t kMaxNameBytes = 4096;
// Small enough that a hash can follow close behind.
constexpr std::size_t kReadAtOnce = std::size_t{512} << 10;
constexpr int kOpenFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

[[noreturn]] void throw_unsafe(const std::string& name, const std::string& what) {
  throw Error(ErrorCode::kUnsafeFile, "model file " + quoted(name) + " " + what);
}

[[noreturn]] void throw_open_failure(const std::string& name, int error) {
  switch (error) {
    case ELOOP:
      throw_unsafe(name, "is a symbolic link or lies behind one; links are not followed, put the file itself there");
    case EXDEV:
      throw_unsafe(name, "leads out of the model's directory or onto another file system");
    case ENXIO:
    case ENODEV:
    case EISDIR:
      throw_unsafe(name, "is not a regular file");
    case ENOENT:
      throw Error(ErrorCode::kModelLoadError, "model file " + quoted(name) + " does not exist");
    default:
      throw Error(ErrorCode::kModelLoadError, "model file " + quoted(name) + " cannot be opened: " + errno_text(error));
  }
}

int open_by_kernel(int root, const char* name) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(kOpenFlags);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  // EAGAIN: something was renamed while the kernel looked; it asks to try again.
  for (int attempt = 0; attempt < 16; ++attempt) {
    const long fd = ::syscall(SYS_openat2, root, name, &how, sizeof how);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno != EAGAIN && errno != EINTR) break;
  }
  return -1;
}

int failed(int error) {
  errno = error;
  return -1;
}

// The same by hand: every component is opened itself, so nothing can be swapped between a look and a step.
int open_by_hand(int root, std::string_view name) {
  struct stat root_stat{};
  if (::fstat(root, &root_stat) != 0) return -1;
  Fd held;
  int at = root;
  while (true) {
    const std::size_t slash = name.find('/');
    const bool last = slash == std::string_view::npos;
    const std::string part(name.substr(0, slash));
    // A directory is opened as a mere place (O_PATH), so that a link shows itself instead of giving "not a directory".
    Fd next(::openat(at, part.c_str(), (last ? kOpenFlags : O_PATH | O_CLOEXEC) | O_NOFOLLOW));
    if (!next) return -1;
    struct stat info{};
    if (::fstat(next.get(), &info) != 0) return -1;
    if (S_ISLNK(info.st_mode)) return failed(ELOOP);
    if (info.st_dev != root_stat.st_dev) return failed(EXDEV);
    if (last) return next.release();
    if (!S_ISDIR(info.st_mode)) return failed(ENOTDIR);
    held = std::move(next);
    at = held.get();
    name.remove_prefix(slash + 1);
  }
}

OpenFile regular(Fd fd, const std::string& name) {
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) throw_open_failure(name, errno);
  if (!S_ISREG(info.st_mode)) throw_unsafe(name, "is not a regular file");
  return OpenFile{std::move(fd), static_cast<std::uint64_t>(info.st_size), name};
}

[[noreturn]] void throw_changed(const OpenFile& file, const char* how) {
  throw Error(ErrorCode::kModelLoadError, "model file " + quoted(file.name) + " " + how +
                                              " while it was read; it had " + std::to_string(file.size) +
                                              " bytes when it was opened. Load it again when it is complete");
}

// How many bytes were there; 0 at the end.
std::size_t read_at(const OpenFile& file, std::uint64_t offset, std::span<std::byte> into) {
  while (true) {
    const ssize_t got = ::pread(file.fd.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno == EINTR) continue;
    throw Error(ErrorCode::kModelLoadError,
                "model file " + quoted(file.name) + " cannot be read: " + errno_text(errno));
  }
}

// One read past the size that was promised: it must find the end there.
void expect_end(const OpenFile& file) {
  std::byte past_end{};
  if (read_at(file, file.size, {&past_end, 1}) != 0) throw_changed(file, "grew");
}

}  // namespace

Fd::~Fd() {
  if (value_ < 0) return;
  const int kept = errno;  // an error on its way out must not be lost to a close
  ::close(value_);
  errno = kept;
}

std::pair<std::string, std::string> folder_and_name(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

std::string relative_name_fault(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > kMaxNameBytes) return "is longer than " + std::to_string(kMaxNameBytes) + " bytes";
  if (name.front() == '/') return "is absolute";
  if (!is_utf8(name)) return "is not valid UTF-8";
  for (std::size_t i = 0; i < name.size(); ++i) {
    const auto byte = static_cast<unsigned char>(name[i]);
    if (byte < 0x20 || byte == 0x7F) return "has a control character";
    // U+0080 to U+009F are controls too.
    if (byte == 0xC2 && static_cast<unsigned char>(name[i + 1]) < 0xA0) return "has a control character";
    if (byte == '\\') return "has a backslash";
  }
  std::size_t from = 0;
  while (from <= name.size()) {
    const std::size_t to = std::min(name.find('/', from), name.size());
    const std::string_view part = name.substr(from, to - from);
    if (part.empty()) return "has an empty component";
    if (part == ".") return "has a '.' component";
    if (part == "..") return "has a '..' component";
    from = to + 1;
  }
  return {};
}

Fd open_directory(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK));
  if (fd) return fd;
  // No path in the message: the caller knows what was asked for, a log reader need not learn the machine's layout.
  throw Error(ErrorCode::kModelLoadError, "the model's directory cannot be opened: " + errno_text(errno));
}

OpenFile open_beneath(const Fd& root, const std::string& name, Resolver resolver) {
  int fd = -1;
  if (resolver == Resolver::kKernel) fd = open_by_kernel(root.get(), name.c_str());
  // A kernel before 5.6 says ENOSYS; a container's filter that does not know the call says EPERM.
  const bool by_hand = resolver == Resolver::kByHand || (fd < 0 && (errno == ENOSYS || errno == EPERM));
  if (by_hand) fd = open_by_hand(root.get(), name);
  if (fd >= 0) return regular(Fd(fd), name);
  if (errno == ENOENT) return OpenFile{Fd(), 0, name};
  throw_open_failure(name, errno);
}

OpenFile open_named(const Fd& parent, const std::string& base) {
  const int fd = ::openat(parent.get(), base.c_str(), kOpenFlags | O_NOFOLLOW);
  if (fd >= 0) return regular(Fd(fd), base);
  if (errno == ENOENT) return OpenFile{Fd(), 0, base};
  throw_open_failure(base, errno);
}

OwnedBytes read_whole(const OpenFile& file, std::uint64_t max_bytes, const ReadProgress& progress) {
  if (!file.fd) throw_open_failure(file.name, ENOENT);
  if (file.size > max_bytes) {
    throw Error(ErrorCode::kModelLoadError, "model file " + quoted(file.name) + " holds " + std::to_string(file.size) +
                                                " bytes, the limit is " + std::to_string(max_bytes));
  }
  OwnedBytes bytes(static_cast<std::size_t>(file.size));
  const std::span<std::byte> memory = bytes.writable();
  std::size_t done = 0;
  while (done < memory.size()) {
    const std::size_t got = read_at(file, done, memory.subspan(done, std::min(memory.size() - done, kReadAtOnce)));
    if (got == 0) throw_changed(file, "shrank");
    done += got;
    if (progress) progress(memory, done);
  }
  expect_end(file);
  return bytes;
}

void read_pieces(const OpenFile& file, std::span<std::byte> buffer,
                 const std::function<void(std::span<const std::byte>)>& take) {
  std::uint64_t done = 0;
  while (done < file.size) {
    const std::size_t want = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), file.size - done));
    const std::size_t got = read_at(file, done, buffer.subspan(0, want));
    if (got == 0) throw_changed(file, "shrank");
    take(buffer.subspan(0, got));
    done += got;
  }
  expect_end(file);
}

}  // namespace anya::integrity
