// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include <malloc.h>

#include "anya/cache.h"
#include "anya/status.h"
#include "base/hash.h"
#include "base/mutex.h"
#include "cache/asker.h"
#include "cache/entry.h"
#include "cache/eviction.h"
#include "cache/reader_slots.h"

namespace anya {

using cache::Entry;
using cache::ReaderSlots;

namespace {

// The system is told of memory that a cache of this size gave back; it takes milliseconds.
constexpr std::uint64_t kWorthTrimming = std::uint64_t{8} << 20;

constexpr auto kAgeNanos = [] {
  std::array<std::uint64_t, kAgeEdges.size()> nanos{};
  for (std::size_t i = 0; i < nanos.size(); ++i) nanos[i] = static_cast<std::uint64_t>(kAgeEdges[i] * 1e9);
  return nanos;
}();

// About one entry of a kilobyte per bucket.
std::size_t buckets_for(std::int64_t capacity) {
  return std::clamp(std::bit_ceil(static_cast<std::uint64_t>(std::max<std::int64_t>(capacity, 0)) / 1024),
                    std::uint64_t{64}, std::uint64_t{1} << 22U);
}

// One for each long entry that fits, at most.
std::size_t hints_for(std::int64_t capacity) {
  const auto most = static_cast<std::uint64_t>(std::max<std::int64_t>(capacity, 0)) / ResponseCache::kLongQuestion;
  return std::clamp(std::bit_ceil(most), std::uint64_t{1}, std::uint64_t{1} << 16U);
}

Nanos nanos_of(double seconds) { return static_cast<Nanos>(std::clamp(seconds, 0.0, 1e9) * 1e9); }

}  // namespace

struct ResponseCache::Impl {
  Impl(const CacheOptions& options, std::array<std::uint64_t, 2> seed);

  enum class Cause : std::uint8_t { kCapacity, kTtl, kInvalidate };
  enum class Ask : std::uint8_t { kFirst, kAgain, kAfterError };

  std::atomic<Entry*>& bucket(std::uint64_t hash) const noexcept { return buckets[hash & mask]; }
  [[nodiscard]] Nanos stale_from(std::uint64_t hash, Nanos now) const noexcept;
  std::atomic<Entry*>& hint(std::uint64_t sketch) const noexcept { return hints[sketch & hint_mask]; }
  using Into = std::span<const OutputBuffer>;
  // How it is asked, and by how much what is given may be stale.
  struct Terms {
    Nanos now;
    Ask asked;
    Nanos max_stale;
  };
  Found find(const CacheQuestion& question, const Terms& terms, Into into) noexcept;
  Found find_by_sketch(CacheQuestion& question, const Terms& terms, Into into) noexcept;
  Found give(ReaderSlots::Slot& slot, Entry& entry, const Terms& terms, Into into) const noexcept;
  static std::atomic<std::uint64_t>& counter_of(ReaderSlots::Slot& slot, Ask asked, Nanos over) noexcept;
  [[nodiscard]] Entry* same_index(std::uint64_t hash) const REQUIRES_LOCK(mutex);
  void link(Entry& entry) REQUIRES_LOCK(mutex);
  void take_out(Entry& entry, Cause cause) REQUIRES_LOCK(mutex);
  void drop_all() REQUIRES_LOCK(mutex);
  void free_retired() REQUIRES_LOCK(mutex);

  // Constant after construction.
  const std::uint64_t capacity;
  const Nanos ttl;
  const double jitter;
  const Nanos stale_while_revalidate;
  const Nanos kept_stale;
  const std::uint64_t jitter_seed;
  const std::size_t mask;
  const std::size_t hint_mask;
  const std::uint64_t fixed_bytes;
  const cache::Asker asker;
  const std::unique_ptr<std::atomic<Entry*>[]> buckets;
  const std::unique_ptr<std::atomic<Entry*>[]> hints;  // the last entry of each sketch
  const std::unique_ptr<cache::Eviction> eviction;     // `hit` is for readers, the rest is guarded by the mutex

  ReaderSlots readers;  // synchronizes itself

  mutable Mutex mutex;
  cache::EntryList<&Entry::arrival> arrivals GUARDED_BY(mutex);
  cache::EntryList<&Entry::arrival> retired GUARDED_BY(mutex);  // out of sight, perhaps still read; the oldest first
  std::uint64_t entries GUARDED_BY(mutex) = 0;
  std::uint64_t insertions GUARDED_BY(mutex) = 0;
  std::uint64_t oversized GUARDED_BY(mutex) = 0;
  std::array<std::uint64_t, 3> evicted GUARDED_BY(mutex){};
  bool closed GUARDED_BY(mutex) = false;
};

namespace {

std::unique_ptr<cache::Eviction> make_eviction(const std::string& policy, std::uint64_t capacity) {
  if (policy == "s3fifo") return cache::make_s3fifo(capacity);
  if (policy == "lru") return cache::make_lru();
  throw Error(ErrorCode::kConfigError, "the cache's policy is '" + policy + "'; it takes \"s3fifo\" or \"lru\"",
              "cache.policy");
}

}  // namespace

ResponseCache::Impl::Impl(const CacheOptions& options, std::array<std::uint64_t, 2> seed)
    : capacity(static_cast<std::uint64_t>(std::max<std::int64_t>(options.capacity_bytes, 0))),
      ttl(options.ttl > 0 ? nanos_of(options.ttl) : kNever),
      jitter(std::clamp(options.ttl_jitter, 0.0, 1.0)),
      stale_while_revalidate(nanos_of(options.stale_while_revalidate)),
      kept_stale(std::max({nanos_of(options.stale_if_error), stale_while_revalidate, nanos_of(options.last_good)})),
      jitter_seed(hash_combine(seed[0], seed[1])),
      mask(buckets_for(options.capacity_bytes) - 1),
      hint_mask(hints_for(options.capacity_bytes) - 1),
      fixed_bytes(sizeof(ResponseCache) + sizeof(Impl) + ReaderSlots::kBytes + (mask + hint_mask + 2) * sizeof(Entry*) +
                  256),
      asker(seed),
      buckets(new std::atomic<Entry*>[mask + 1]()),
      hints(new std::atomic<Entry*>[hint_mask + 1]()),
      eviction(make_eviction(options.policy, capacity - std::min(capacity, fixed_bytes))) {}

// A share of the time to live that is the same for a question and a time: nothing random is kept.
Nanos ResponseCache::Impl::stale_from(std::uint64_t hash, Nanos now) const noexcept {
  if (ttl == kNever) return kNever;
  const std::uint64_t drawn = hash_combine(hash ^ jitter_seed, static_cast<std::uint64_t>(now));
  const double share = static_cast<double>(drawn >> 11U) * 0x1p-52 - 1.0;  // -1 to 1
  return now + ttl + static_cast<Nanos>(static_cast<double>(ttl) * jitter * share);
}

std::atomic<std::uint64_t>& ResponseCache::Impl::counter_of(ReaderSlots::Slot& slot, Ask asked, Nanos over) noexcept {
  if (asked == Ask::kAgain) return slot.coalesced;
  if (asked == Ask::kAfterError) return slot.stale_on_error;
  return over < 0 ? slot.hits : slot.stale;
}

// What may be given of an entry that is the question's, with all that is counted of it. REQUIRES: inside `slot`.
ResponseCache::Found ResponseCache::Impl::give(ReaderSlots::Slot& slot, Entry& entry, const Terms& terms,
                                               Into into) const noexcept {
  const Nanos now = terms.now;
  const Nanos over = entry.stale_from == kNever ? -1 : std::max<Nanos>(now - entry.stale_from, -1);
  if (over >= 0 && over >= terms.max_stale) return {};
  eviction->hit(entry, now);
  ReaderSlots::count(counter_of(slot, terms.asked, over));
  const auto age = static_cast<std::uint64_t>(std::max<Nanos>(now - entry.stored_at, 0));
  slot.age.observe(bucket_of(kAgeNanos, age), age);
  if (over < 0 && entry.answer->copy_to(into)) return {nullptr, true, over};
  return {entry.answer, false, over};
}

ResponseCache::Found ResponseCache::Impl::find(const CacheQuestion& question, const Terms& terms, Into into) noexcept {
  ReaderSlots::Slot& slot = readers.enter();
  Found found;
  // Sequentially consistent, as ReaderSlots asks for.
  Entry* entry = bucket(question.hash).load(std::memory_order_seq_cst);
  while (entry != nullptr && entry->hash != question.hash) entry = entry->next.load(std::memory_order_seq_cst);
  if (entry != nullptr) {
    if (entry->key->matches(question)) {
      found = give(slot, *entry, terms, into);
    } else if (terms.asked == Ask::kFirst) {
      ReaderSlots::count(slot.collisions);
    }
  }
  if (!found.any() && terms.asked == Ask::kFirst) ReaderSlots::count(slot.misses);
  ReaderSlots::leave(slot);
  return found;
}

// The whole comparison, without the hash. Nothing is counted of an entry that is another question's.
ResponseCache::Found ResponseCache::Impl::find_by_sketch(CacheQuestion& question, const Terms& terms,
                                                         Into into) noexcept {
  ReaderSlots::Slot& slot = readers.enter();
  Found found;
  Entry* const entry = hint(question.sketch).load(std::memory_order_seq_cst);
  if (entry != nullptr && entry->key->sketch() == question.sketch && entry->key->matches(question)) {
    found = give(slot, *entry, terms, into);
    question.hash = entry->hash;
    question.hashed = true;
  }
  ReaderSlots::leave(slot);
  return found;
}

Entry* ResponseCache::Impl::same_index(std::uint64_t hash) const {
  Entry* entry = bucket(hash).load(std::memory_order_relaxed);  // written under our own mutex
  while (entry != nullptr && entry->hash != hash) entry = entry->next.load(std::memory_order_relaxed);
  return entry;
}

void ResponseCache::Impl::link(Entry& entry) {
  std::atomic<Entry*>& head = bucket(entry.hash);
  entry.next.store(head.load(std::memory_order_relaxed), std::memory_order_relaxed);
  head.store(&entry, std::memory_order_seq_cst);  // whoever finds it sees what was written before
  if (entry.key->sketch() != 0) hint(entry.key->sketch()).store(&entry, std::memory_order_seq_cst);
  arrivals.push_back(entry);
  ++entries;
  ++insertions;
}

// REQUIRES: the policy has let go of it.
void ResponseCache::Impl::take_out(Entry& entry, Cause cause) {
  std::atomic<Entry*>* place = &bucket(entry.hash);
  while (place->load(std::memory_order_relaxed) != &entry) place = &place->load(std::memory_order_relaxed)->next;
  place->store(entry.next.load(std::memory_order_relaxed), std::memory_order_seq_cst);
  std::atomic<Entry*>& mine = hint(entry.key->sketch());
  if (mine.load(std::memory_order_relaxed) == &entry) mine.store(nullptr, std::memory_order_seq_cst);
  arrivals.remove(entry);
  --entries;
  ++evicted[static_cast<std::size_t>(cause)];
  entry.retired_in = readers.end_era();
  retired.push_back(entry);
}

void ResponseCache::Impl::free_retired() {
  if (retired.front() == nullptr) return;
  const std::uint64_t oldest = readers.oldest();
  while (Entry* const entry = retired.front()) {
    if (entry->retired_in >= oldest) return;
    retired.remove(*entry);
    delete entry;
  }
}

void ResponseCache::Impl::drop_all() {
  while (Entry* const entry = arrivals.front()) {
    eviction->remove(*entry);
    take_out(*entry, Cause::kInvalidate);
  }
  free_retired();
}

ResponseCache::ResponseCache(const CacheOptions& options, std::array<std::uint64_t, 2> seed)
    : impl_(std::make_unique<Impl>(options, seed)) {}

ResponseCache::~ResponseCache() { close(); }

void ResponseCache::ask(std::string_view tenant, std::span<const std::uint32_t> outputs,
                        std::span<const TensorView> inputs, CacheQuestion& question) const {
  impl_->asker.ask(tenant, outputs, inputs, question);
}

ResponseCache::Found ResponseCache::find(CacheQuestion& question, Nanos now, std::span<const OutputBuffer> into,
                                         bool only_fresh) noexcept {
  const Impl::Terms terms{now, Impl::Ask::kFirst, only_fresh ? 0 : impl_->stale_while_revalidate};
  if (!question.hashed) {
    Found found = impl_->find_by_sketch(question, terms, into);
    if (found.any()) return found;
    if (!question.hashed) impl_->asker.hash(question);
  }
  return impl_->find(question, terms, into);
}

ResponseCache::Found ResponseCache::find_again(const CacheQuestion& question, Nanos now) noexcept {
  return impl_->find(question, {now, Impl::Ask::kAgain, 0}, {});
}

ResponseCache::Found ResponseCache::find_after_error(CacheQuestion& question, Nanos now, Nanos max_stale) noexcept {
  if (!question.hashed) impl_->asker.hash(question);
  return impl_->find(question, {now, Impl::Ask::kAfterError, max_stale}, {});
}

void ResponseCache::insert(std::shared_ptr<const CacheKey> key, std::shared_ptr<const CachedAnswer> answer,
                           Nanos now) noexcept try {
  Impl& impl = *impl_;
  auto entry = std::make_unique<Entry>();
  entry->hash = key->hash();
  entry->bytes = sizeof(Entry) + 16 + key->memory_bytes() + answer->memory_bytes() + impl.eviction->overhead();
  entry->key = std::move(key);
  entry->answer = std::move(answer);
  entry->stored_at = now;
  entry->stale_from = impl.stale_from(entry->hash, now);
  if (entry->stale_from != kNever) entry->gone_from = entry->stale_from + impl.kept_stale;

  MutexLock lock(impl.mutex);
  if (impl.closed) return;
  if (impl.fixed_bytes + entry->bytes > impl.capacity) {
    ++impl.oversized;
    return;
  }
  while (impl.arrivals.front() != nullptr && impl.arrivals.front()->gone_from <= now) {
    Entry& gone = *impl.arrivals.front();
    impl.eviction->remove(gone);
    impl.take_out(gone, Impl::Cause::kTtl);
  }
  if (Entry* const old = impl.same_index(entry->hash)) {
    if (old->stale_from > now || !old->key->matches(*entry->key)) return;
    impl.eviction->remove(*old);
    impl.take_out(*old, Impl::Cause::kTtl);
  }
  // What is retired does not count here: a reader that sleeps must not empty the cache.
  while (impl.fixed_bytes + impl.arrivals.bytes() + entry->bytes > impl.capacity) {
    Entry* const victim = impl.eviction->evict();
    if (victim == nullptr) break;
    impl.take_out(*victim, victim->gone_from <= now ? Impl::Cause::kTtl : Impl::Cause::kCapacity);
  }
  impl.free_retired();
  entry->serial = impl.insertions;
  impl.eviction->add(*entry, now);
  impl.link(*entry.release());
} catch (const std::bad_alloc&) {
  // It is not kept: nothing else has changed.
}

void ResponseCache::count_coalesced() noexcept {
  ReaderSlots::Slot& slot = impl_->readers.enter();
  ReaderSlots::count(slot.coalesced);
  ReaderSlots::leave(slot);
}

void ResponseCache::clear() noexcept {
  MutexLock lock(impl_->mutex);
  impl_->drop_all();
}

void ResponseCache::close() noexcept {
  bool large = false;
  {
    MutexLock lock(impl_->mutex);
    large = impl_->arrivals.bytes() > kWorthTrimming;
    impl_->closed = true;
    impl_->drop_all();
    for (; impl_->retired.front() != nullptr; impl_->free_retired()) std::this_thread::yield();
  }
#if defined(__GLIBC__)
  if (large) ::malloc_trim(0);  // else what was freed may stay with the allocator, and the process as large as it was
#else
  static_cast<void>(large);
#endif
}

CacheStats ResponseCache::stats() const {
  CacheStats stats;
  stats.capacity_bytes = impl_->capacity;
  stats.fixed_bytes = impl_->fixed_bytes;
  stats.age = {{kAgeEdges.begin(), kAgeEdges.end()}, std::vector<std::uint64_t>(kAgeEdges.size() + 1), 0.0};
  for (std::size_t i = 0; i < ReaderSlots::kCount; ++i) {
    const ReaderSlots::Slot& slot = impl_->readers[i];
    stats.hits += slot.hits.load(std::memory_order_relaxed);
    stats.stale += slot.stale.load(std::memory_order_relaxed);
    stats.stale_on_error += slot.stale_on_error.load(std::memory_order_relaxed);
    stats.misses += slot.misses.load(std::memory_order_relaxed);
    stats.coalesced += slot.coalesced.load(std::memory_order_relaxed);
    stats.collisions += slot.collisions.load(std::memory_order_relaxed);
    slot.age.add_to(stats.age, 1e-9);
  }
  MutexLock lock(impl_->mutex);
  stats.bytes = impl_->fixed_bytes + impl_->arrivals.bytes() + impl_->retired.bytes();
  stats.entries = impl_->entries;
  stats.insertions = impl_->insertions;
  stats.oversized = impl_->oversized;
  stats.evicted_capacity = impl_->evicted[0];
  stats.evicted_ttl = impl_->evicted[1];
  stats.evicted_invalidate = impl_->evicted[2];
  return stats;
}

}  // namespace anya
