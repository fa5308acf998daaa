// SPDX-License-Identifier: Apache-2.0
//
// The response cache: answers of one loaded model, by question.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "anya/clock.h"
#include "anya/options.h"
#include "anya/session.h"
#include "anya/stats.h"
#include "anya/tensor.h"

namespace anya {

// A question as the cache sees it: who asks, for which outputs, and every input's type, shape and bytes. Borrows the
// inputs' memory. Made by ResponseCache::ask; keeps its own memory when it is made again.
struct CacheQuestion {
  std::uint64_t hash = 0;    // of all of it, once `hashed`
  std::uint64_t sketch = 0;  // of a long one: a hash of samples, which tells where to look first; 0: none
  bool hashed = false;
  std::array<std::uint64_t, 2> mac{};  // of a large one: its identity
  bool by_mac = false;
  std::size_t bytes = 0;          // of the whole, as a key would hold it
  std::vector<std::byte> header;  // everything but the values
  std::span<const TensorView> inputs;
};

// A question kept: the values copied, so that a run may read them from here and no caller can change them. Of a large
// question the MAC alone is kept. Immutable.
class CacheKey {
 public:
  explicit CacheKey(const CacheQuestion& question);  // throws std::bad_alloc. REQUIRES: it is hashed: it was missed
  [[nodiscard]] bool matches(const CacheQuestion& question) const noexcept;
  [[nodiscard]] bool matches(const CacheKey& other) const noexcept;
  [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }
  [[nodiscard]] std::uint64_t sketch() const noexcept { return sketch_; }
  [[nodiscard]] bool holds_values() const noexcept { return block_ != nullptr; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept;
  // Points the inputs, which are of this question, at the values kept here; strings stay where they are.
  void lend(std::span<TensorView> inputs) const noexcept;

 private:
  struct Free {
    void operator()(std::byte* block) const noexcept;
  };
  std::uint64_t hash_;
  std::uint64_t sketch_;
  std::array<std::uint64_t, 2> mac_;
  std::size_t header_bytes_ = 0;
  std::size_t bytes_ = 0;
  std::unique_ptr<std::byte[], Free> block_;
};

// The outputs of one run, copied into memory of their own. Immutable, shared by its holders: it outlives its eviction
// for as long as somebody reads it.
class CachedAnswer {
 public:
  explicit CachedAnswer(std::span<const OutputBuffer> outputs);  // throws std::bad_alloc
  CachedAnswer(const CachedAnswer&) = delete;
  CachedAnswer& operator=(const CachedAnswer&) = delete;
  [[nodiscard]] std::span<const OutputBuffer> outputs() const noexcept { return outputs_; }
  [[nodiscard]] std::size_t memory_bytes() const noexcept;
  // False: this is not memory for such outputs, and nothing was written. Text does not fit anywhere.
  [[nodiscard]] bool copy_to(std::span<const OutputBuffer> into) const noexcept;

 private:
  std::vector<OutputBuffer> outputs_;  // `data` points into block_
  std::vector<std::byte> block_;
};

// Answers by question, within a budget of bytes. One per loaded model, whose digest and session are therefore part of
// every key without being written into it.
//
// A question's index is a seeded hash; its identity is a comparison of every byte, above kLargeQuestion a keyed MAC. A
// long question is first compared with the last one of the same sketch: if that is it, it need not be hashed. Two
// questions of one index are a collision: the first stays, the other is a miss and is counted.
// Thread-safe. Readers never block and never wait for each other or for a writer: they announce themselves in a slot
// of their own, and what a writer takes out is freed once every reader that may see it has left. Writers (insert,
// clear) take one mutex, for a few hundred nanoseconds. Time comes from the caller and must not run backwards by more
// than threads differ in when they read it.
class ResponseCache {
 public:
  static constexpr std::size_t kLargeQuestion = std::size_t{1} << 20U;

  // `seed`: from the system's randomness, so that nobody outside can make questions collide. Throws
  // Error(kConfigError) for an unknown policy and std::bad_alloc.
  ResponseCache(const CacheOptions& options, std::array<std::uint64_t, 2> seed);
  ~ResponseCache();  // REQUIRES: nobody uses it
  ResponseCache(const ResponseCache&) = delete;
  ResponseCache& operator=(const ResponseCache&) = delete;

  static constexpr std::size_t kLongQuestion = std::size_t{32} << 10U;

  // Makes the question of a request. `question` borrows `inputs`. Throws std::bad_alloc, and Error(kUnavailable) when
  // libcrypto offers no MAC for a large one. Takes as long as reading the inputs once; of a long question, samples.
  void ask(std::string_view tenant, std::span<const std::uint32_t> outputs, std::span<const TensorView> inputs,
           CacheQuestion& question) const;

  struct Found {
    std::shared_ptr<const CachedAnswer> answer;  // null: it was copied, or there is nothing that may be given
    bool copied = false;
    Nanos stale_age = -1;  // beyond its time to live; -1: fresh
    [[nodiscard]] bool any() const noexcept { return copied || answer != nullptr; }
  };
  // The answer, fresh or within stale_while_revalidate. Counted: a hit, stale or a miss. Hashes a long question if it
  // must. A fresh one is copied into `into`, where that is memory for outputs of these very types and shapes: then
  // nothing is shared, so that threads that hit one entry do not meet. `only_fresh`: what is stale is a miss.
  [[nodiscard]] Found find(CacheQuestion& question, Nanos now, std::span<const OutputBuffer> into = {},
                           bool only_fresh = false) noexcept;
  // A fresh answer for one who has missed before: counted as coalesced, or not at all.
  [[nodiscard]] Found find_again(const CacheQuestion& question, Nanos now) noexcept;
  // The answer, fresh or not stale for longer than this, for a request that has failed. Counted when there is one.
  [[nodiscard]] Found find_after_error(CacheQuestion& question, Nanos now, Nanos max_stale) noexcept;

  // Keeps an answer; a stale one of the same question goes. Dropped without a word when there is a fresh one, when it
  // is larger than the whole budget (counted), when its index is taken by another question, when there is no memory,
  // or after close().
  void insert(std::shared_ptr<const CacheKey> key, std::shared_ptr<const CachedAnswer> answer, Nanos now) noexcept;
  // One more request was answered by another one's run.
  void count_coalesced() noexcept;

  // Everything goes, counted as invalidated. Answers on their way in are still kept.
  void clear() noexcept;
  // The same for good: what comes is dropped. Waits for readers, who take nanoseconds.
  void close() noexcept;

  [[nodiscard]] CacheStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace anya
