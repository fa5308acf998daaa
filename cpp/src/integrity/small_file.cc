// SPDX-License-Identifier: Apache-2.0
#include "integrity/small_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "integrity/safe_open.h"

namespace anya::integrity {
namespace {

[[noreturn]] void throw_unwritable(const std::string& path, const char* what) {
  throw Error(ErrorCode::kConfigError, quoted(path) + " cannot be " + what + ": " + errno_text(errno));
}

// A name that nobody else takes, in the same folder, so that the rename stays on one file system.
std::string temporary_name(const std::string& path) {
  unsigned char random[8];
  if (::getrandom(random, sizeof random, 0) != sizeof random) throw_unwritable(path, "written");
  std::string name = path + ".";
  for (const unsigned char byte : random) {
    char hex[3];
    std::snprintf(hex, sizeof hex, "%02x", byte);
    name += hex;
  }
  return name + ".tmp";
}

void write_all(const Fd& fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t done = ::write(fd.get(), content.data(), content.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) throw_unwritable(path, "written");
    content.remove_prefix(static_cast<std::size_t>(done));
  }
  if (::fsync(fd.get()) != 0) throw_unwritable(path, "written");
}

// So that the new name itself is on the disk. A folder that cannot be opened for it is no failure of the file.
void flush_folder(const std::string& path) {
  const Fd fd(::open(folder_and_name(path).first.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd) ::fsync(fd.get());
}

}  // namespace

std::string read_small_file(const std::string& path, std::uint64_t max_bytes, ErrorCode code) {
  const auto refuse = [&](const std::string& why) { throw Error(code, quoted(path) + " " + why); };
  if (path.find('\0') != std::string::npos) refuse("has a NUL in its name");
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) refuse("cannot be opened: " + errno_text(errno));
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) refuse("cannot be looked at: " + errno_text(errno));
  if (!S_ISREG(info.st_mode)) refuse("is not a regular file");
  if (static_cast<std::uint64_t>(info.st_size) > max_bytes) {
    refuse("holds " + std::to_string(info.st_size) + " bytes, the limit is " + std::to_string(max_bytes));
  }
  std::string content(static_cast<std::size_t>(info.st_size) + 1, '\0');  // one more, to see that it ends there
  std::size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = ::read(fd.get(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) refuse("cannot be read: " + errno_text(errno));
    if (got == 0) break;
    done += static_cast<std::size_t>(got);
  }
  if (done != static_cast<std::size_t>(info.st_size)) refuse("changed while it was read");
  content.resize(done);
  return content;
}

void write_atomically(const std::string& path, std::string_view content, unsigned mode, Existing existing) {
  const std::string temporary = temporary_name(path);
  const Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd) throw_unwritable(path, "written");
  try {
    if (::fchmod(fd.get(), mode) != 0) throw_unwritable(path, "written");  // whatever the umask is
    write_all(fd, content, path);
    if (existing == Existing::kReplace) {
      if (::rename(temporary.c_str(), path.c_str()) != 0) throw_unwritable(path, "put into place");
    } else {
      if (::link(temporary.c_str(), path.c_str()) != 0) throw_unwritable(path, "made");  // fails where there is one
      ::unlink(temporary.c_str());
    }
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  flush_folder(path);
}

}  // namespace anya::integrity
