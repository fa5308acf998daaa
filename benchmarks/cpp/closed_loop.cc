// SPDX-License-Identifier: Apache-2.0
#include "closed_loop.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace anya::bench {
namespace {

Round summary(std::vector<Nanos>& latencies, std::uint64_t answers, std::uint64_t wrong, Nanos elapsed) {
  std::ranges::sort(latencies);
  const auto at = [&](std::size_t percent) {
    return static_cast<double>(latencies[std::min(latencies.size() - 1, latencies.size() * percent / 100)]) * 1e-3;
  };
  Round round;
  round.items_per_second = static_cast<double>(answers) / (static_cast<double>(elapsed) * 1e-9);
  round.p50_us = at(50);
  round.p99_us = at(99);
  round.answers = answers;
  round.wrong = wrong;
  return round;
}

}  // namespace

Round closed_loop(Contender& contender, const Questions& questions, std::size_t in_flight, double seconds) {
  const SteadyClock clock;
  std::vector<std::unique_ptr<Ask>> all;
  std::vector<Ask*> ready;
  for (std::size_t i = 0; i < in_flight; ++i) {
    all.push_back(std::make_unique<Ask>());
    all.back()->question = i % questions.size();
    ready.push_back(all.back().get());
  }
  std::vector<Nanos> latencies;
  latencies.reserve(std::size_t{1} << 20);
  std::uint64_t wrong = 0;
  std::size_t flying = 0;

  const Nanos begin = clock.now();
  const Nanos end = begin + static_cast<Nanos>(seconds * 1e9);
  Nanos now = begin;
  while (true) {
    if (now < end || latencies.empty()) {
      for (Ask* ask : ready) ask->asked_at = now;
      if (!ready.empty()) contender.ask(ready);
      flying += ready.size();
    }
    ready.clear();
    if (flying == 0) break;
    contender.collect(ready);
    now = clock.now();
    flying -= ready.size();
    for (Ask* ask : ready) {
      latencies.push_back(now - ask->asked_at);
      if (!questions.is_answer(ask->question, ask->answer)) ++wrong;
      ask->question = (ask->question + in_flight) % questions.size();
    }
  }
  return summary(latencies, latencies.size(), wrong, now - begin);
}

Round plain_runs(Session& session, const Questions& questions, std::size_t rows, double seconds) {
  const SteadyClock clock;
  const std::unique_ptr<RunControl> control = session.make_run_control();
  const std::size_t width = questions.output_width();
  std::vector<float> answers(rows * width);
  std::vector<Nanos> latencies;
  std::uint64_t wrong = 0;

  const Nanos begin = clock.now();
  const Nanos end = begin + static_cast<Nanos>(seconds * 1e9);
  std::size_t first = 0;
  Nanos now = begin;
  do {
    const Nanos started = now;
    const Status status = run_rows(session, *control, questions.view(first, rows), answers);
    now = clock.now();
    latencies.push_back(now - started);
    for (std::size_t row = 0; row < rows; ++row) {
      const auto answer = std::span<const float>(answers).subspan(row * width, width);
      if (!status.ok() || !questions.is_answer(first + row, answer)) ++wrong;
    }
    first = first + 2 * rows <= questions.size() ? first + rows : 0;
  } while (now < end);
  return summary(latencies, latencies.size() * rows, wrong, now - begin);
}

}  // namespace anya::bench
