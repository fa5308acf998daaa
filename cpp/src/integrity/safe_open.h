// SPDX-License-Identifier: Apache-2.0
//
// Opening and reading files that somebody else may have prepared: no link is followed, nothing but a regular file is
// read, nothing blocks, and a file that changes while it is read is an error. All functions are thread-safe; they throw
// kUnsafeFile (a link, a device, a way out), kModelLoadError (cannot be read) and name the file by `name` alone.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "integrity/owned_bytes.h"

namespace anya::integrity {

// A file descriptor that closes itself. Move-only.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int value) noexcept : value_(value) {}
  Fd(Fd&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd();

  [[nodiscard]] int get() const noexcept { return value_; }
  int release() noexcept { return std::exchange(value_, -1); }
  explicit operator bool() const noexcept { return value_ >= 0; }

 private:
  int value_ = -1;
};

// A regular file, open, and the size it had then. `fd` is empty when there is no such file.
struct OpenFile {
  Fd fd;
  std::uint64_t size = 0;
  std::string name;
};

// Who resolves the path below a root: the kernel (openat2), or we, one component at a time, where it cannot.
enum class Resolver { kKernel, kByHand };

// "" if `name` is a plain relative path (valid UTF-8, at most 4096 bytes, no empty, "." or ".." component, no
// backslash, no control character); else what is wrong with it.
std::string relative_name_fault(std::string_view name);

// "a/b/m.onnx" -> "a/b", "m.onnx"; "m.onnx" -> ".", "m.onnx"; "/m.onnx" -> "/", "m.onnx".
std::pair<std::string, std::string> folder_and_name(const std::string& path);

// Opens a directory the caller chose. Links on the way are followed: the path is the caller's own word.
Fd open_directory(const std::string& path);

// Opens the regular file `name` below `root` without following any link, leaving `root` or changing file system.
// REQUIRES: relative_name_fault(name) is empty.
OpenFile open_beneath(const Fd& root, const std::string& name, Resolver resolver = Resolver::kKernel);

// Opens the regular file `base` in the directory `parent`. It may be a mount of its own (a file bound into a
// container), but not a link. REQUIRES: `base` is one path component.
OpenFile open_named(const Fd& parent, const std::string& base);

// Reads it whole into memory of its own. Throws when it is larger than `max_bytes` (before memory is taken), or when
// it has another size than it had when it was opened. Blocks on the disk. `progress` is told how much of the memory is
// filled, piece by piece.
using ReadProgress = std::function<void(std::span<const std::byte> memory, std::size_t filled)>;
OwnedBytes read_whole(const OpenFile& file, std::uint64_t max_bytes, const ReadProgress& progress = nullptr);

// Reads it through `buffer`, which must not be empty, and hands each piece to `take`. Throws as read_whole does.
void read_pieces(const OpenFile& file, std::span<std::byte> buffer,
                 const std::function<void(std::span<const std::byte>)>& take);

}  // namespace anya::integrity
