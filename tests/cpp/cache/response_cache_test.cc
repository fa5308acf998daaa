// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <atomic>
#include <thread>
#include <tuple>

#include <malloc.h>

#include "anya/cache.h"
#include "anya/status.h"
#include "cache/cache_rig.h"
#include "cache/index_hash.h"
#include "support/check.h"

using anya::CachedAnswer;
using anya::CacheKey;
using anya::CacheOptions;
using anya::CacheQuestion;
using anya::CacheStats;
using anya::DType;
using anya::Nanos;
using anya::OutputBuffer;
using anya::ResponseCache;
using anya::TensorView;
using namespace anya::test;

namespace {
constexpr std::int64_t kRoom = 1 << 20;
constexpr Nanos kSecond = 1'000'000'000;
}  // namespace

TEST(ResponseCache, GivesWhatWasPutIn) {
  ResponseCache cache(cache_options(kRoom), kSeed);
  EXPECT_EQ(get(cache, "a", 1), -1.0F);
  put(cache, "a", 3, 1);
  EXPECT_EQ(get(cache, "a", 2), 3.0F);
  const CacheStats stats = cache.stats();
  EXPECT_EQ(stats.hits, 1u);
  EXPECT_EQ(stats.misses, 2u);
  EXPECT_EQ(stats.entries, 1u);
  EXPECT_EQ(stats.insertions, 1u);
}

// Everything that makes a question another one, with the values the same to the byte.
TEST(ResponseCache, TypeShapeOutputsAndTenantAreOtherQuestions) {
  ResponseCache cache(cache_options(kRoom), kSeed);
  const std::vector<float> values(8, 1.5F);
  const auto view = [&](DType dtype, anya::Shape shape) {
    return TensorView{dtype, shape, values.data(), values.size() * sizeof(float)};
  };
  const std::uint32_t second[] = {1};
  const std::uint32_t both[] = {0, 1};
  struct Case {
    TensorView input;
    std::string tenant;
    std::span<const std::uint32_t> outputs;
  };
  const std::vector<Case> cases = {
      {view(DType::kFloat32, {8}), "", kFirstOutput},    {view(DType::kInt32, {8}), "", kFirstOutput},
      {view(DType::kFloat32, {2, 4}), "", kFirstOutput}, {view(DType::kFloat32, {4, 2}), "", kFirstOutput},
      {view(DType::kFloat32, {8}), "a", kFirstOutput},   {view(DType::kFloat32, {8}), "b", kFirstOutput},
      {view(DType::kFloat32, {8}), "", second},          {view(DType::kFloat32, {8}), "", both},
  };
  for (std::size_t i = 0; i < cases.size(); ++i) {
    CacheQuestion question;
    cache.ask(cases[i].tenant, cases[i].outputs, {&cases[i].input, 1}, question);
    EXPECT_TRUE(cache.find(question, 1).answer == nullptr);
    cache.insert(std::make_shared<CacheKey>(question), answer_of(static_cast<float>(i)), 1);
  }
  EXPECT_EQ(cache.stats().entries, cases.size());
  EXPECT_EQ(cache.stats().collisions, 0u);
}

// Where one input ends and the next begins is part of the question, for strings too.
TEST(ResponseCache, BoundariesCount) {
  ResponseCache cache(cache_options(kRoom), kSeed);
  const auto ask = [&](std::vector<std::string_view> texts, CacheQuestion& question, TensorView& view) {
    static std::vector<std::vector<std::string_view>> kept;
    kept.push_back(std::move(texts));
    const auto count = static_cast<std::int64_t>(kept.back().size());
    view = {DType::kString, {count}, kept.back().data(), kept.back().size() * sizeof(std::string_view)};
    cache.ask("", kFirstOutput, {&view, 1}, question);
  };
  CacheQuestion one, two, same;
  TensorView one_view, two_view, same_view;
  ask({"ab", "c"}, one, one_view);
  ask({"a", "bc"}, two, two_view);
  ask({"ab", "c"}, same, same_view);
  cache.insert(std::make_shared<CacheKey>(one), answer_of(1), 1);
  EXPECT_TRUE(cache.find(two, 1).answer == nullptr);
  EXPECT_TRUE(cache.find(same, 1).answer != nullptr);
}

// The seed is known here, so two inputs can be made to meet: the index alone must not decide.
TEST(ResponseCache, AConstructedCollisionIsAMissAndCounted) {
  ResponseCache cache(cache_options(kRoom), kSeed);
  const std::uint64_t blind = anya::cache::IndexHash(kSeed).blind_word();
  const auto bytes = [&](std::uint64_t second) {
    std::string text(16, '\0');
    std::memcpy(text.data(), &blind, 8);
    std::memcpy(text.data() + 8, &second, 8);
    return text;
  };
  Asked one(cache, bytes(1));
  Asked two(cache, bytes(2));
  ASSERT_EQ(one.question.hash, two.question.hash);
  put(cache, bytes(1), 1, 1);
  EXPECT_EQ(get(cache, bytes(2), 2), -1.0F);
  put(cache, bytes(2), 2, 3);  // the first stays
  EXPECT_EQ(get(cache, bytes(1), 4), 1.0F);
  EXPECT_EQ(get(cache, bytes(2), 5), -1.0F);
  EXPECT_EQ(cache.stats().collisions, 3u);
  EXPECT_EQ(cache.stats().entries, 1u);
}

// Of every size, around each border at which a question is found in another way.
TEST(ResponseCache, QuestionsOfEverySizeAreFoundAndToldApart) {
  ResponseCache cache(cache_options(64 << 20), kSeed);
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{255}, std::size_t{4096}, ResponseCache::kLongQuestion - 100,
        ResponseCache::kLongQuestion, std::size_t{602112}, ResponseCache::kLargeQuestion - 200,
        ResponseCache::kLargeQuestion + 1, std::size_t{3} << 20U}) {
    std::string bytes(size, 'x');
    put(cache, bytes, static_cast<float>(size), 1);
    EXPECT_EQ(get(cache, bytes, 2), static_cast<float>(size));
    for (const std::size_t at : {std::size_t{0}, size / 2 + size / 77, size - 1}) {
      bytes[at] = 'y';
      EXPECT_EQ(get(cache, bytes, 2), -1.0F);
      bytes[at] = 'x';
    }
  }
}

// Long questions whose samples are equal: one is looked at first, the other is found by its hash.
TEST(ResponseCache, QuestionsOfOneSketchDoNotHideEachOther) {
  ResponseCache cache(cache_options(kRoom), kSeed);
  std::string one(40'000, 'x');
  std::string two = one;
  two[700] = 'y';  // between two samples
  const Asked a(cache, one);
  const Asked b(cache, two);
  ASSERT_EQ(a.question.sketch, b.question.sketch);
  put(cache, one, 1, 1);
  put(cache, two, 2, 2);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(get(cache, one, 3), 1.0F);
    EXPECT_EQ(get(cache, two, 3), 2.0F);
  }
  EXPECT_EQ(cache.stats().collisions, 0u);
}

TEST(ResponseCache, TellsFreshFromStaleFromGone) {
  CacheOptions options = cache_options(kRoom);
  options.ttl = 10;
  options.stale_while_revalidate = 5;
  options.stale_if_error = 20;
  ResponseCache cache(options, kSeed);
  put(cache, "a", 3, 0);
  Asked asked(cache, "a");
  struct Case {
    Nanos now, age, age_after_error;
  };
  constexpr Nanos kNone = -2;
  for (const Case& c :
       {Case{0, -1, -1}, Case{10 * kSecond - 1, -1, -1}, Case{10 * kSecond, 0, 0},
        Case{15 * kSecond - 1, 5 * kSecond - 1, 5 * kSecond - 1}, Case{15 * kSecond, kNone, 5 * kSecond},
        Case{30 * kSecond - 1, kNone, 20 * kSecond - 1}, Case{30 * kSecond, kNone, kNone}}) {
    const auto age = [](const ResponseCache::Found& found) { return found.answer ? found.stale_age : kNone; };
    EXPECT_EQ(age(cache.find(asked.question, c.now)), c.age);
    EXPECT_EQ(age(cache.find_after_error(asked.question, c.now, 20 * kSecond)), c.age_after_error);
  }
  const CacheStats stats = cache.stats();
  EXPECT_EQ(stats.hits, 2u);
  EXPECT_EQ(stats.stale, 2u);
  EXPECT_EQ(stats.misses, 4u);
  EXPECT_EQ(stats.stale_on_error, 6u);
}

TEST(ResponseCache, KeepsWhatIsStaleForWhoAsksForItLast) {
  CacheOptions options = cache_options(kRoom);
  options.ttl = 10;
  options.stale_while_revalidate = 5;
  options.last_good = 60;
  ResponseCache cache(options, kSeed);
  put(cache, "a", 3, 0);
  put(cache, "b", 4, 69 * kSecond);  // whoever comes in throws out what nobody may have any more
  Asked asked(cache, "a");
  const std::uint64_t misses = cache.stats().misses;
  EXPECT_FALSE(cache.find(asked.question, 12 * kSecond, {}, /*only_fresh=*/true).any());
  EXPECT_EQ(cache.find(asked.question, 12 * kSecond).stale_age, 2 * kSecond);
  EXPECT_FALSE(cache.find_after_error(asked.question, 69 * kSecond, 59 * kSecond).any());
  EXPECT_EQ(cache.find_after_error(asked.question, 69 * kSecond, 60 * kSecond).stale_age, 59 * kSecond);
  EXPECT_EQ(cache.stats().misses, misses + 1);
}

TEST(ResponseCache, JitterSpreadsTheEndsWithinItsShare) {
  CacheOptions options = cache_options(kRoom);
  options.ttl = 100;
  options.ttl_jitter = 0.1;
  ResponseCache cache(options, kSeed);
  for (int i = 0; i < 200; ++i) put(cache, std::to_string(i), 1, 0);
  const auto alive = [&](Nanos now) {
    int count = 0;
    for (int i = 0; i < 200; ++i) count += get(cache, std::to_string(i), now) > 0 ? 1 : 0;
    return count;
  };
  EXPECT_EQ(alive(90 * kSecond - 1), 200);
  for (const auto& [now, least, most] : {std::tuple{95, 110, 190}, std::tuple{105, 10, 90}}) {
    const int count = alive(now * kSecond);
    EXPECT_GT(count, least);
    EXPECT_LT(count, most);
  }
  EXPECT_EQ(alive(110 * kSecond + 1), 0);
}

TEST(ResponseCache, AFreshAnswerStaysAStaleOneIsReplaced) {
  CacheOptions options = cache_options(kRoom);
  options.ttl = 10;
  ResponseCache cache(options, kSeed);
  put(cache, "a", 1, 0);
  put(cache, "a", 2, 1);
  EXPECT_EQ(get(cache, "a", 2), 1.0F);
  put(cache, "a", 3, 10 * kSecond);
  EXPECT_EQ(get(cache, "a", 11 * kSecond), 3.0F);
  EXPECT_EQ(cache.stats().evicted_ttl, 1u);
}

TEST(ResponseCache, CountsWhyEntriesLeft) {
  CacheOptions options = cache_options(kRoom, "lru");
  options.ttl = 10;
  ResponseCache cache(options, kSeed);
  for (int i = 0; i < 3; ++i) put(cache, std::to_string(i), 1, 0);
  put(cache, "later", 1, 10 * kSecond);  // those that have gone leave by themselves
  EXPECT_EQ(cache.stats().evicted_ttl, 3u);
  EXPECT_EQ(cache.stats().entries, 1u);
  cache.clear();
  EXPECT_EQ(cache.stats().evicted_invalidate, 1u);
  const std::string large(kRoom / 4, 'x');
  for (int i = 0; i < 8; ++i) put(cache, large + std::to_string(i), 1, 11 * kSecond);
  EXPECT_EQ(cache.stats().evicted_capacity, 8u - cache.stats().entries);
  EXPECT_GT(cache.stats().evicted_capacity, 3u);
}

TEST(ResponseCache, StaysWithinItsBytes) {
  for (const char* policy : {"s3fifo", "lru"}) {
    ResponseCache cache(cache_options(kRoom, policy), kSeed);
    for (int i = 0; i < 5000; ++i) {
      put(cache, std::string(static_cast<std::size_t>(i * 37 % 3000), 'x') + std::to_string(i), 1, i);
      ASSERT_TRUE(cache.stats().bytes <= static_cast<std::uint64_t>(kRoom));
    }
    EXPECT_GT(cache.stats().entries, 200u);
  }
}

// What is counted is what the allocator gave, within a tenth.
TEST(ResponseCache, CountsWhatItTakes) {
  for (const char* policy : {"s3fifo", "lru"}) {
    for (const std::size_t size : {std::size_t{64}, std::size_t{2048}}) {
      const std::size_t before = mallinfo2().uordblks;
      if (before == 0) return;  // a sanitizer's allocator does not say
      ResponseCache cache(cache_options(2 << 20, policy), kSeed);
      for (int i = 0; i < 20'000; ++i) put(cache, std::string(size, 'x') + std::to_string(i), 1, i);
      const auto taken = static_cast<double>(mallinfo2().uordblks - before);
      const auto counted = static_cast<double>(cache.stats().bytes);
      EXPECT_LT(taken, counted * 1.1);
      EXPECT_GT(taken, counted * 0.8);
    }
  }
}

TEST(ResponseCache, WhatIsLargerThanAllOfItIsNotKept) {
  ResponseCache cache(cache_options(1 << 16), kSeed);
  put(cache, "small", 1, 0);
  put(cache, std::string(1 << 16, 'x'), 2, 1);
  EXPECT_EQ(cache.stats().oversized, 1u);
  EXPECT_EQ(get(cache, "small", 2), 1.0F);
  ResponseCache none(cache_options(0), kSeed);
  put(none, "a", 1, 0);
  EXPECT_EQ(get(none, "a", 1), -1.0F);
}

TEST(ResponseCache, AnAnswerOutlivesItsEviction) {
  ResponseCache cache(cache_options(kRoom), kSeed);
  put(cache, "a", 3, 1);
  Asked asked(cache, "a");
  const ResponseCache::Found found = cache.find(asked.question, 2);
  cache.clear();
  EXPECT_EQ(get(cache, "a", 3), -1.0F);
  EXPECT_EQ(*static_cast<const float*>(found.answer->outputs()[0].data), 3.0F);
}

// A fresh answer goes into memory for such outputs, and nothing is written into any other; a stale one is shared.
TEST(ResponseCache, AFreshAnswerIsCopiedWhereItFits) {
  CacheOptions options = cache_options(kRoom);
  options.ttl = 10;
  options.stale_while_revalidate = 10;
  ResponseCache cache(options, kSeed);
  put(cache, "a", 3, 0);
  Asked asked(cache, "a");
  float value = -1;
  OutputBuffer into{DType::kFloat32, {1}, &value, sizeof(value), nullptr};
  const auto find = [&](Nanos now) { return cache.find(asked.question, now, {&into, 1}); };
  ResponseCache::Found found = find(1);
  EXPECT_TRUE(found.copied && found.answer == nullptr);
  EXPECT_EQ(value, 3.0F);
  value = -1;
  for (const auto& [dtype, shape, bytes] : {std::tuple{DType::kInt32, anya::Shape{1}, sizeof(float)},
                                            std::tuple{DType::kFloat32, anya::Shape{1, 1}, sizeof(float)},
                                            std::tuple{DType::kFloat32, anya::Shape{2}, 2 * sizeof(float)}}) {
    into = {dtype, shape, &value, bytes, nullptr};
    found = find(1);
    EXPECT_TRUE(!found.copied && found.answer != nullptr);
  }
  into = {DType::kFloat32, {1}, &value, sizeof(value), nullptr};
  found = find(11 * kSecond);
  EXPECT_TRUE(!found.copied && found.answer != nullptr && found.stale_age == kSecond);
  EXPECT_EQ(value, -1.0F);
}

TEST(ResponseCache, AfterTheEndNothingIsKept) {
  ResponseCache cache(cache_options(kRoom), kSeed);
  put(cache, "a", 3, 1);
  cache.close();
  put(cache, "b", 3, 1);
  EXPECT_EQ(get(cache, "a", 2), -1.0F);
  EXPECT_EQ(get(cache, "b", 2), -1.0F);
  EXPECT_EQ(cache.stats().bytes, cache.stats().fixed_bytes);
}

TEST(ResponseCache, RefusesAnUnknownPolicy) {
  EXPECT_ERROR(anya::ErrorCode::kConfigError, ResponseCache(cache_options(kRoom, "fifo"), kSeed));
}

TEST(ResponseCache, StringsComeBackAsTheyWere) {
  const std::string_view texts[] = {"", "one", "zwei\0drei"};
  const OutputBuffer output{DType::kString, {3}, const_cast<std::string_view*>(texts), sizeof(texts), nullptr};
  const CachedAnswer kept(std::span(&output, 1));
  const auto* const views = static_cast<const std::string_view*>(kept.outputs()[0].data);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(views[i], texts[i]);
    EXPECT_TRUE(texts[i].empty() || views[i].data() != texts[i].data());
  }
}

// Readers, writers and clearing at once: whatever is found is the answer to what was asked. For ThreadSanitizer and
// AddressSanitizer, which see an entry that is freed while it is read.
TEST(ResponseCache, ReadersAndWritersDoNotMeet) {
  ResponseCache cache(cache_options(200'000), kSeed);
  std::atomic<bool> stop{false};
  std::atomic<int> found{0};
  const auto value_of = [](int i) { return static_cast<float>(i); };
  const auto read = [&](int step) {
    for (int i = 0; !stop.load(); i = (i + step) % 400) {
      const float value = get(cache, "question " + std::to_string(i), i);
      if (value == -1.0F) continue;
      EXPECT_EQ(value, value_of(i));
      found.fetch_add(1);
    }
  };
  const auto write = [&](int step) {
    for (int i = 0; i < 20'000; ++i)
      put(cache, "question " + std::to_string(i * step % 400), value_of(i * step % 400), i);
  };
  std::vector<std::thread> readers;
  for (const int step : {1, 3, 7}) readers.emplace_back(read, step);
  std::thread writer(write, 3);
  write(1);
  for (int i = 0; i < 50; ++i) cache.clear();
  writer.join();
  put(cache, "question 0", value_of(0), 0);
  while (found.load() == 0) std::this_thread::yield();
  stop.store(true);
  for (std::thread& reader : readers) reader.join();
  put(cache, "the last", 1, 0);  // what readers were still looking at goes now
  EXPECT_LE(cache.stats().bytes, 200'000u);
}
