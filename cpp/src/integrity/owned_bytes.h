// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include <sys/mman.h>

#include "anya/status.h"

namespace anya::integrity {

// Memory that belongs to the engine alone: what is hashed here is what is parsed later, whatever happens to the file.
// Anonymous pages, never a mapping of the file (a file can change or shrink underneath its mapping).
// Not thread-safe while it is written; afterwards any number of readers. Move-only; frees on destruction.
class OwnedBytes {
 public:
  OwnedBytes() = default;
  // Zeroed memory. Throws kOutOfMemory. Does not touch the pages.
  explicit OwnedBytes(std::size_t size) : size_(size) {
    if (size == 0) return;
    data_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED) {
      data_ = nullptr;
      size_ = 0;
      throw Error(ErrorCode::kOutOfMemory, "no memory for a model file of " + std::to_string(size) + " bytes");
    }
    // A hundredth of the page faults, where the host allows it; no more memory than was asked for.
    static_cast<void>(::madvise(data_, size, MADV_HUGEPAGE));
  }
  OwnedBytes(OwnedBytes&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  OwnedBytes& operator=(OwnedBytes&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  OwnedBytes(const OwnedBytes&) = delete;
  OwnedBytes& operator=(const OwnedBytes&) = delete;
  ~OwnedBytes() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return {static_cast<const std::byte*>(data_), size_};
  }
  [[nodiscard]] std::span<std::byte> writable() noexcept { return {static_cast<std::byte*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace anya::integrity
