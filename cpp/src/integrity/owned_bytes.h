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
    if (size < kHugePage) {
      map(size, 0);
    } else if (size <= SIZE_MAX - 2 * kHugePage) {
      map((size + kHugePage - 1) / kHugePage * kHugePage, kHugePage);
    }
    if (data_ != nullptr) return;
    size_ = 0;
    throw Error(ErrorCode::kOutOfMemory, "no memory for a model file of " + std::to_string(size) + " bytes");
  }
  OwnedBytes(OwnedBytes&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        mapped_(std::exchange(other.mapped_, 0)) {}
  OwnedBytes& operator=(OwnedBytes&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(mapped_, other.mapped_);
    return *this;
  }
  OwnedBytes(const OwnedBytes&) = delete;
  OwnedBytes& operator=(const OwnedBytes&) = delete;
  ~OwnedBytes() {
    if (data_ != nullptr) ::munmap(data_, mapped_);
  }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
    return {static_cast<const std::byte*>(data_), size_};
  }
  [[nodiscard]] std::span<std::byte> writable() noexcept { return {static_cast<std::byte*>(data_), size_}; }

 private:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

  // `length` bytes that begin at a multiple of `alignment` (0: anywhere): whole huge pages, where the host gives any,
  // are a hundredth of the page faults. At most one huge page more than was asked for.
  void map(std::size_t length, std::size_t alignment) noexcept {
    void* const area = ::mmap(nullptr, length + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (area == MAP_FAILED) return;
    data_ = area;
    mapped_ = length;
    if (alignment == 0) return;
    auto* const first = static_cast<std::byte*>(area);
    const std::size_t before = (alignment - reinterpret_cast<std::uintptr_t>(first) % alignment) % alignment;
    data_ = first + before;
    if (before != 0) ::munmap(first, before);
    if (before != alignment) ::munmap(first + before + length, alignment - before);
    static_cast<void>(::madvise(data_, length, MADV_HUGEPAGE));
  }

  void* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t mapped_ = 0;
};

}  // namespace anya::integrity
