// SPDX-License-Identifier: Apache-2.0
#include "anya/rollout_tally.h"

#include <csignal>
#include <thread>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "anya/status.h"
#include "support/check.h"
#include "support/tally_memory.h"
#include "support/watchdog.h"

using namespace anya::test;
using anya::Nanos;
using anya::RolloutTally;
using Arm = RolloutTally::Arm;

namespace {

constexpr Nanos kSecond = 1'000'000'000;

struct Fixture {
  RolloutTally tally = TallyMemory().tally(kSecond);
  void answer(Arm arm, std::uint64_t key, bool bad, Nanos now, Nanos compute = 1'000'000) {
    tally.answered(arm, key, bad, compute, 1, 0, now);
  }
  RolloutTally::Counts errors(Arm arm, std::uint64_t window) {
    return tally.look(window).counts[static_cast<std::size_t>(arm)][0];
  }
};

}  // namespace

TEST(RolloutTally, AKeyCountsOnceInAWindow) {
  Fixture it;
  for (int i = 0; i < 20; ++i) it.answer(Arm::kNew, 7, false, kSecond);
  it.answer(Arm::kNew, 8, false, kSecond);
  const auto counts = it.errors(Arm::kNew, 1);
  EXPECT_EQ(counts.units, 2u);
  EXPECT_EQ(counts.at_risk, 2u);
  EXPECT_EQ(counts.bad, 0u);
}

TEST(RolloutTally, ARequestWithoutAKeyCountsByItself) {
  Fixture it;
  for (int i = 0; i < 5; ++i) it.answer(Arm::kOld, 0, i == 0, kSecond);
  const auto counts = it.errors(Arm::kOld, 1);
  EXPECT_EQ(counts.units, 5u);
  EXPECT_EQ(counts.bad, 1u);
  EXPECT_EQ(counts.first_bad, 1u);
}

TEST(RolloutTally, AKeyThatFailsAgainAndAgainIsOnePieceOfEvidence) {
  Fixture it;
  std::uint64_t units = 0;
  std::uint64_t bad = 0;
  std::uint64_t at_risk = 0;
  std::uint64_t first_bad = 0;
  for (int window = 1; window <= 6; ++window) {
    for (int i = 0; i < 10; ++i) it.answer(Arm::kNew, 7, true, window * kSecond);
    const auto counts = it.errors(Arm::kNew, static_cast<std::uint64_t>(window));
    units += counts.units;
    bad += counts.bad;
    at_risk += counts.at_risk;
    first_bad += counts.first_bad;
  }
  EXPECT_EQ(units, 6u);
  EXPECT_EQ(bad, 6u);
  EXPECT_EQ(at_risk, 1u);
  EXPECT_EQ(first_bad, 1u);
}

TEST(RolloutTally, AnErrorLaterInTheWindowTurnsTheKeyBad) {
  Fixture it;
  it.answer(Arm::kOld, 7, false, kSecond);
  it.answer(Arm::kOld, 7, true, kSecond + 5);
  it.answer(Arm::kOld, 7, false, kSecond + 6);
  it.answer(Arm::kOld, 7, true, kSecond + 7);
  const auto counts = it.errors(Arm::kOld, 1);
  EXPECT_EQ(counts.units, 1u);
  EXPECT_EQ(counts.bad, 1u);
  EXPECT_EQ(counts.at_risk, 1u);
  EXPECT_EQ(counts.first_bad, 1u);
}

TEST(RolloutTally, WindowsAreApartAndStayUntilTheyAreCleared) {
  Fixture it;
  it.answer(Arm::kOld, 1, true, kSecond);
  it.answer(Arm::kOld, 2, false, kSecond);
  it.answer(Arm::kOld, 2, false, 2 * kSecond);
  it.tally.reported(Arm::kNew, 3, 1, true, kSecond);
  EXPECT_EQ(it.errors(Arm::kOld, 1).units, 2u);
  EXPECT_EQ(it.errors(Arm::kOld, 1).units, 2u);
  it.tally.clear(1);
  const auto block = it.tally.look(1);
  for (const auto& kinds : block.counts) {
    for (const auto& counts : kinds) EXPECT_EQ(counts.units + counts.bad + counts.at_risk + counts.first_bad, 0u);
  }
  EXPECT_EQ(block.durations.size(), 0u);
  EXPECT_EQ(it.errors(Arm::kOld, 2).units, 1u);
  it.answer(Arm::kOld, 2, false, 9 * kSecond);  // where window 1 was
  const auto later = it.tally.look(9);
  EXPECT_EQ(later.counts[0][0].units, 1u);
  std::uint64_t runs = 0;
  for (const auto count : later.durations[0].runs[0]) runs += count;
  EXPECT_EQ(runs, 1u);
}

TEST(RolloutTally, DurationsAreOfTheFirstAnswerOfAKeyAndOfGoodAnswersAlone) {
  Fixture it;
  it.answer(Arm::kNew, 1, false, kSecond, 1'000'000);
  it.answer(Arm::kNew, 1, false, kSecond, 9'000'000);
  it.answer(Arm::kNew, 2, true, kSecond, 1'000'000);
  it.answer(Arm::kNew, 3, false, kSecond, 0);
  const auto block = it.tally.look(1);
  EXPECT_EQ(block.durations.size(), 1u);
  std::uint64_t runs = 0;
  for (const auto count : block.durations[0].runs[1]) runs += count;
  EXPECT_EQ(runs, 1u);
}

TEST(RolloutTally, RunsOfUnlikeSizeAreInDifferentStrata) {
  Fixture it;
  it.tally.answered(Arm::kOld, 1, false, 1000, 1, 3, kSecond);
  it.tally.answered(Arm::kOld, 2, false, 1000, 2, 3, kSecond);
  it.tally.answered(Arm::kOld, 3, false, 1000, 3, 3, kSecond);
  it.tally.answered(Arm::kOld, 4, false, 1000, 1, 4, kSecond);
  EXPECT_EQ(it.tally.look(1).durations.size(), 3u);  // 2 and 3 rows are alike
}

TEST(RolloutTally, ADurationIsInTheBucketWhoseEdgesHoldIt) {
  Fixture it;
  for (Nanos duration = 100; duration < 20 * kSecond; duration += duration / 30 + 1) {
    it.tally.answered(Arm::kOld, 0, false, duration, 1, 0, kSecond);
    const auto block = it.tally.look(1);
    it.tally.clear(1);
    std::size_t at = 0;
    while (block.durations[0].runs[0][at] == 0) ++at;
    if (at > 0) EXPECT_GE(duration, RolloutTally::edge_of(at - 1));
    if (at + 1 < RolloutTally::kDurations) EXPECT_LT(duration, RolloutTally::edge_of(at));
  }
  EXPECT_EQ(RolloutTally::edge_of(0), 1000);
  EXPECT_EQ(RolloutTally::edge_of(8), 2000);
}

TEST(RolloutTally, ReportsAreByMetricAndKnowNothingOfErrors) {
  Fixture it;
  it.tally.reported(Arm::kNew, 2, 7, true, kSecond);
  it.tally.reported(Arm::kNew, 2, 7, true, kSecond);
  it.tally.reported(Arm::kNew, 9, 7, true, kSecond);  // there is no such metric
  const auto block = it.tally.look(1);
  EXPECT_EQ(block.counts[1][2].bad, 1u);
  EXPECT_EQ(block.counts[1][2].units, 1u);
  EXPECT_EQ(block.counts[1][0].units, 0u);
}

TEST(RolloutTally, ManyKeysAreCountedExactlyOrNotAtAll) {
  Fixture it;
  constexpr std::uint64_t kKeys = 400'000;  // more than there is room for
  for (std::uint64_t key = 1; key <= kKeys; ++key) it.answer(Arm::kNew, key * 0x9E3779B97F4A7C15U, false, kSecond);
  auto block = it.tally.look(1);
  EXPECT_EQ(block.counts[1][0].units + block.untracked, kKeys);
  EXPECT_TRUE(block.counts[1][0].units > 100'000);
  // The next window begins afresh: keys that were never bad make room.
  for (std::uint64_t key = 1; key <= 30'000; ++key) it.answer(Arm::kOld, key * 0x9E3779B97F4A7C15U, false, 2 * kSecond);
  block = it.tally.look(2);
  EXPECT_EQ(block.counts[0][0].units, 30'000u);
}

TEST(RolloutTally, TwoTalliesOfOneMemoryCountTogether) {
  const TallyMemory memory;
  RolloutTally first = memory.tally(kSecond);
  RolloutTally second = memory.tally(kSecond);
  first.answered(Arm::kNew, 7, true, 0, 1, 0, kSecond);
  second.answered(Arm::kNew, 7, true, 0, 1, 0, kSecond);
  second.answered(Arm::kNew, 8, false, 1000, 1, 0, kSecond);
  const auto counts = first.look(1).counts[1][0];
  EXPECT_EQ(counts.units, 2u);
  EXPECT_EQ(counts.bad, 1u);
}

namespace {

// A tally's memory in two places. Whoever first writes through `locked` is held up, and `other` counts the same key
// before the write goes on: so comes what another thread does between the look at a word and its exchange.
struct Overtaken {
  Overtaken() {
    ASSERT_TRUE(ftruncate(file, static_cast<off_t>(bytes)) == 0);
    ASSERT_TRUE(locked != MAP_FAILED && open != MAP_FAILED);
    it = this;
    struct sigaction touched{};
    touched.sa_flags = SA_RESETHAND;  // a second fault is an error
    touched.sa_handler = [](int) {
      mprotect(it->locked, it->bytes, PROT_READ | PROT_WRITE);
      it->other.reported(Arm::kNew, 1, 7, true, kSecond);
    };
    sigaction(SIGSEGV, &touched, &before);
  }
  ~Overtaken() {
    sigaction(SIGSEGV, &before, nullptr);
    munmap(locked, bytes);
    munmap(open, bytes);
    close(file);
  }
  Overtaken(const Overtaken&) = delete;
  Overtaken& operator=(const Overtaken&) = delete;

  void* map(int access) const { return mmap(nullptr, bytes, access, MAP_SHARED, file, 0); }
  RolloutTally tally_at(void* place) const { return {{static_cast<std::byte*>(place), bytes}, nullptr, kSecond}; }

  static inline Overtaken* it = nullptr;
  const std::size_t bytes = RolloutTally::bytes();
  const int file = memfd_create("tally", MFD_CLOEXEC);
  void* const locked = map(PROT_READ);
  void* const open = map(PROT_READ | PROT_WRITE);
  RolloutTally other = tally_at(open);
  struct sigaction before{};
};

}  // namespace

TEST(RolloutTally, AKeyThatSomebodyElseCountsBetweenLookAndWriteCountsOnce) {
  Overtaken memory;
  RolloutTally tally = memory.tally_at(memory.locked);
  tally.reported(Arm::kNew, 1, 7, true, kSecond);
  const auto counts = tally.look(1).counts[1][1];
  EXPECT_EQ(counts.units, 1u);
  EXPECT_EQ(counts.bad, 1u);
  EXPECT_EQ(counts.first_bad, 1u);
}

TEST(RolloutTally, ThreadsLoseNothing) {
  const Watchdog watchdog("counting");
  Fixture it;
  constexpr std::uint64_t kEach = 4'000;  // few enough for every key to find room, however threads take turns
  std::vector<std::thread> threads;
  for (std::uint64_t thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&it, thread] {
      for (std::uint64_t i = 0; i < kEach; ++i) {
        // Half of the keys are every thread's.
        const std::uint64_t key = i % 2 == 0 ? i + 1 : (i + 1) * 4 + thread * 1'000'003;
        it.answer(i % 4 < 2 ? Arm::kOld : Arm::kNew, 0, false, kSecond);
        it.tally.reported(Arm::kNew, 1, key, i % 2 == 0, kSecond);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const auto block = it.tally.look(1);
  EXPECT_EQ(block.counts[0][0].units + block.counts[1][0].units, 4 * kEach);
  EXPECT_EQ(block.untracked, 0u);
  EXPECT_EQ(block.counts[1][1].bad, kEach / 2);  // once for each of the shared keys
}

TEST(RolloutTally, MemoryThatIsTooSmallOrCrookedIsRefused) {
  const TallyMemory memory;
  EXPECT_ERROR(anya::ErrorCode::kConfigError, RolloutTally(memory.bytes().first(64), nullptr, kSecond));
  EXPECT_ERROR(anya::ErrorCode::kConfigError, RolloutTally(memory.bytes().subspan(8), nullptr, kSecond));
}
