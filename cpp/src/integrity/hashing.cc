// SPDX-License-Identifier: Apache-2.0
#include "integrity/hashing.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/cpu.h"
#include "base/thread.h"

namespace anya::integrity {
namespace {

// Below it a thread that follows gains less than it may lose by waiting for a core.
constexpr std::size_t kWorthAThread = std::size_t{16} << 20;
constexpr std::size_t kHashPiece = std::size_t{1} << 20;

// Hashes memory behind the one who fills it.
class Follower {
 public:
  explicit Follower(const CryptoContext& context) : hash_(context) {}
  ~Follower() { finish(); }
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;

  // The first `filled` bytes are there. Called by the reader, the first time with the memory to follow.
  void advance(std::span<const std::byte> memory, std::size_t filled) {
    if (!thread_.joinable()) {
      memory_ = memory;
      thread_ = start_thread("anya-hash", [this] { run(); });
    }
    const std::scoped_lock lock(mutex_);
    filled_ = filled;
    changed_.notify_one();
  }

  Digest digest() {
    finish();
    if (failure_) std::rethrow_exception(failure_);
    return hash_.finish();
  }

 private:
  void finish() noexcept {
    if (!thread_.joinable()) return;
    {
      const std::scoped_lock lock(mutex_);
      ended_ = true;
      changed_.notify_one();
    }
    thread_.join();
  }

  void run() {
    std::size_t done = 0;
    try {
      while (true) {
        std::size_t filled = 0;
        {
          std::unique_lock lock(mutex_);
          changed_.wait(lock, [&] { return filled_ > done || ended_; });
          filled = filled_;
        }
        if (filled == done) return;
        hash_.update(memory_.subspan(done, filled - done));
        done = filled;
      }
    } catch (...) {
      failure_ = std::current_exception();  // read after the join
    }
  }

  Sha256 hash_;
  std::span<const std::byte> memory_;
  std::exception_ptr failure_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t filled_ = 0;  // guarded by mutex_
  bool ended_ = false;      // guarded by mutex_
  std::jthread thread_;
};

}  // namespace

HashedBytes read_and_hash(const CryptoContext& context, const OpenFile& file, std::uint64_t max_bytes) {
  HashedBytes all;
  if (file.size < kWorthAThread) {
    Sha256 hash(context);
    std::size_t hashed = 0;  // piece by piece: what was just read is still in the core's cache
    all.bytes = read_whole(file, max_bytes, [&](std::span<const std::byte> memory, std::size_t filled) {
      hash.update(memory.subspan(hashed, filled - hashed));
      hashed = filled;
    });
    all.digest = hash.finish();
    return all;
  }
  Follower follower(context);
  all.bytes = read_whole(file, max_bytes, [&follower](std::span<const std::byte> memory, std::size_t filled) {
    follower.advance(memory, filled);
  });
  all.digest = follower.digest();
  return all;
}

Digest hash_file(const CryptoContext& context, const OpenFile& file) {
  Sha256 hash(context);
  std::vector<std::byte> piece(std::min<std::uint64_t>(file.size + 1, kHashPiece));
  read_pieces(file, piece, [&hash](std::span<const std::byte> bytes) { hash.update(bytes); });
  return hash.finish();
}

void in_parallel(std::size_t count, const std::function<void(std::size_t)>& task) {
  const std::size_t threads = std::min<std::size_t>(count, static_cast<std::size_t>(usable_cores()));
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    // Relaxed: it only hands out numbers; what the tasks write is seen after the join.
    for (std::size_t i = next.fetch_add(1, std::memory_order_relaxed); i < count;
         i = next.fetch_add(1, std::memory_order_relaxed)) {
      try {
        task(i);
      } catch (...) {
        const std::scoped_lock lock(mutex);
        if (!failure) failure = std::current_exception();
        next.store(count, std::memory_order_relaxed);  // begin no more
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (std::size_t i = 1; i < threads; ++i) helpers.push_back(start_thread("anya-hash", work));
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace anya::integrity
