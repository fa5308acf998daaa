// SPDX-License-Identifier: Apache-2.0
//
// Hits of the response cache without Python: questions per second of one thread and of two, each with an order of its
// own over the same entries, and what an insertion costs while the cache fills and once it is full. Every answer is
// looked at. Prints JSON.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "anya/cache.h"

namespace {

using anya::CachedAnswer;
using anya::CacheKey;
using anya::CacheOptions;
using anya::CacheQuestion;
using anya::DType;
using anya::OutputBuffer;
using anya::ResponseCache;
using anya::TensorView;
using Clock = std::chrono::steady_clock;

constexpr std::uint32_t kOutputs[] = {0};
constexpr std::size_t kEntries = 1000;
constexpr std::int64_t kAnswer = 64;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::shared_ptr<const CachedAnswer> answer_of(std::uint64_t value) {
  std::vector<std::uint64_t> values(kAnswer, value);
  const OutputBuffer output{DType::kUInt64, {kAnswer}, values.data(), values.size() * 8, nullptr};
  return std::make_shared<CachedAnswer>(std::span(&output, 1));
}

TensorView view_of(const std::vector<std::byte>& bytes) {
  return {DType::kUInt8, {1, static_cast<std::int64_t>(bytes.size())}, bytes.data(), bytes.size()};
}

void put(ResponseCache& cache, const std::vector<std::byte>& bytes, std::uint64_t value, anya::Nanos now) {
  CacheQuestion question;
  const TensorView view = view_of(bytes);
  cache.ask("", kOutputs, {&view, 1}, question);
  if (cache.find(question, now).answer == nullptr) {
    cache.insert(std::make_shared<CacheKey>(question), answer_of(value), now);
  }
}

// Questions per second of each of so many threads together.
double hits(ResponseCache& cache, const std::vector<std::vector<std::byte>>& asked, unsigned threads, double seconds) {
  std::atomic<unsigned> ready{0};
  std::atomic<bool> stop{false};
  std::vector<std::uint64_t> counts(threads * 16);
  std::vector<std::thread> all;
  for (unsigned t = 0; t < threads; ++t) {
    all.emplace_back([&, t] {
      CacheQuestion question;
      std::vector<std::uint64_t> answer(kAnswer);
      const OutputBuffer into{DType::kUInt64, {kAnswer}, answer.data(), kAnswer * 8, nullptr};
      std::mt19937 random(t + 1);
      std::uint64_t count = 0;
      ready.fetch_add(1);
      while (ready.load() <= threads) std::this_thread::yield();
      for (; !stop.load(std::memory_order_relaxed); ++count) {
        const std::size_t which = random() % asked.size();
        const TensorView view = view_of(asked[which]);
        cache.ask("", kOutputs, {&view, 1}, question);
        const ResponseCache::Found found = cache.find(question, static_cast<anya::Nanos>(count), {&into, 1});
        if (!found.copied || answer.front() != which || answer.back() != which) {
          std::fprintf(stderr, "a wrong answer\n");
          std::abort();
        }
      }
      counts[t * 16] = count;
    });
  }
  while (ready.load() < threads) std::this_thread::yield();
  const auto begin = Clock::now();
  ready.fetch_add(1);
  std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
  stop.store(true);
  const double took = seconds_since(begin);
  for (std::thread& thread : all) thread.join();
  std::uint64_t sum = 0;
  for (const std::uint64_t count : counts) sum += count;
  return static_cast<double>(sum) / took;
}

}  // namespace

int main(int count, char** arguments) {
  const double seconds = count == 2 ? std::stod(arguments[1]) : 0;
  if (seconds <= 0) {
    std::fprintf(stderr, "usage: cache_bench SECONDS\n");
    return 2;
  }
  std::printf("{");
  std::mt19937_64 random(1);
  for (const std::size_t size : {std::size_t{256}, std::size_t{4096}}) {
    CacheOptions options;
    options.capacity_bytes = 64 << 20;
    ResponseCache cache(options, {1, 2});
    std::vector<std::vector<std::byte>> asked(kEntries, std::vector<std::byte>(size));
    for (std::size_t i = 0; i < kEntries; ++i) {
      for (std::byte& byte : asked[i]) byte = static_cast<std::byte>(random());
      put(cache, asked[i], i, 0);
    }
    const double one = hits(cache, asked, 1, seconds);
    const double two = hits(cache, asked, 2, seconds);
    std::printf("\"%zu B\": {\"one\": %.0f, \"two\": %.0f}, ", size, one, two);
  }
  // A million different questions: room for a tenth of them.
  CacheOptions options;
  options.capacity_bytes = 100 << 20;
  ResponseCache cache(options, {1, 2});
  const int total = seconds < 0.05 ? 10'000 : 1'000'000;
  std::vector<std::byte> bytes(256);
  std::vector<double> tenths;
  for (int i = 0; i < total;) {
    const auto begin = Clock::now();
    const int end = i + total / 10;
    for (; i < end; ++i) {
      std::memcpy(bytes.data(), &i, sizeof(i));
      put(cache, bytes, static_cast<std::uint64_t>(i), i);
    }
    tenths.push_back(seconds_since(begin) / (total / 10) * 1e6);
  }
  std::printf("\"insertions\": {\"empty µs\": %.4f, \"full µs\": %.4f, \"last µs\": %.4f}}\n", tenths[0], tenths[2],
              tenths[9]);
  return 0;
}
