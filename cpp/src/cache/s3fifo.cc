// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <list>
#include <new>
#include <unordered_map>

#include "cache/eviction.h"

namespace anya::cache {
namespace {

constexpr Nanos kMost = 3;     // hits that are told apart
constexpr Nanos kPromote = 2;  // as many in the small queue make an entry stay

// What has left the small queue lately, by hash, the oldest first. Not thread-safe.
class Ghosts {
 public:
  bool take(std::uint64_t hash) noexcept {
    const auto found = places_.find(hash);
    if (found == places_.end()) return false;
    order_.erase(found->second);
    places_.erase(found);
    return true;
  }
  void add(std::uint64_t hash, std::size_t limit) noexcept {
    static_cast<void>(take(hash));
    try {
      order_.push_back(hash);
      places_.emplace(hash, std::prev(order_.end()));
    } catch (const std::bad_alloc&) {
      if (order_.size() > places_.size()) order_.pop_back();
    }
    while (places_.size() > limit) static_cast<void>(take(std::uint64_t{order_.front()}));
  }

 private:
  std::list<std::uint64_t> order_;
  std::unordered_map<std::uint64_t, std::list<std::uint64_t>::iterator> places_;
};

class S3Fifo final : public Eviction {
 public:
  explicit S3Fifo(std::uint64_t capacity) noexcept : main_capacity_(capacity - capacity / 10) {}

  void hit(Entry& entry, Nanos /*now*/) const noexcept override {
    const Nanos hits = entry.used.load(std::memory_order_relaxed);
    if (hits < kMost) entry.used.store(hits + 1, std::memory_order_relaxed);
  }

  void add(Entry& entry, Nanos /*now*/) override {
    entry.is_main = ghosts_.take(entry.hash);
    queue_of(entry).push_back(entry);
    ++count_;
  }

  void remove(Entry& entry) noexcept override {
    queue_of(entry).remove(entry);
    --count_;
  }

  Entry* evict() noexcept override {
    for (;;) {
      if (main_.front() != nullptr && (main_.bytes() > main_capacity_ || small_.front() == nullptr)) {
        return evict_main();
      }
      Entry* const entry = small_.front();
      if (entry == nullptr) return nullptr;
      small_.remove(*entry);
      if (entry->used.load(std::memory_order_relaxed) < kPromote) {
        --count_;
        ghosts_.add(entry->hash, count_ * 9 / 10);
        return entry;
      }
      entry->used.store(0, std::memory_order_relaxed);
      entry->is_main = true;
      main_.push_back(*entry);
    }
  }

  // A ghost's two nodes and its place among the buckets: there are fewer ghosts than entries.
  [[nodiscard]] std::size_t overhead() const noexcept override { return 80; }

 private:
  using Queue = EntryList<&Entry::queue>;
  Queue& queue_of(const Entry& entry) noexcept { return entry.is_main ? main_ : small_; }

  // Every hit is good for one more round.
  Entry* evict_main() noexcept {
    for (;;) {
      Entry& entry = *main_.front();
      main_.remove(entry);
      const Nanos hits = entry.used.load(std::memory_order_relaxed);
      if (hits == 0) {
        --count_;
        return &entry;
      }
      entry.used.store(hits - 1, std::memory_order_relaxed);
      main_.push_back(entry);
    }
  }

  const std::uint64_t main_capacity_;
  Queue small_, main_;
  Ghosts ghosts_;
  std::size_t count_ = 0;
};

}  // namespace

std::unique_ptr<Eviction> make_s3fifo(std::uint64_t capacity) { return std::make_unique<S3Fifo>(capacity); }

}  // namespace anya::cache
