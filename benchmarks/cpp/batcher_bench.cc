// SPDX-License-Identifier: Apache-2.0
//
// One round of each: a plain session on ready-made batches, two schedulers of the usual shape, the engine. All run the
// same model on one instance with one thread, and 64 requests in flight are driven by one client thread.
// Prints JSON. Exit status 1: some answer was wrong; 2: it could not be done.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "anya/engine.h"
#include "closed_loop.h"
#include "engine_contender.h"
#include "questions.h"
#include "scheduler_contender.h"

namespace {

using anya::bench::Round;

constexpr std::size_t kInFlight = 64;
constexpr std::size_t kRows = 64;  // in one run, at most
constexpr std::size_t kQuestions = 4 * kInFlight;
constexpr anya::Nanos kDelay = 200'000;  // less than one run of 64 rows

std::vector<char> read_file(const char* path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw anya::Error(anya::ErrorCode::kConfigError, std::string("cannot read ") + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::pair<const char*, Round>> measure(const char* library, const char* model_file, double seconds,
                                                   bool spoiled) {
  const std::vector<char> file = read_file(model_file);
  const auto bytes = std::as_bytes(std::span(file));
  const anya::EngineDependencies dependencies = anya::make_dependencies(library);
  const auto session = dependencies.open_session(bytes, {}, anya::SessionOptions{});
  anya::bench::Questions questions(*session, kQuestions);
  if (spoiled) questions.spoil();
  anya::Engine engine(dependencies);
  anya::ModelOptions options;
  options.instances = 1;
  const auto model = engine.load("model", "1", {"", bytes}, options);

  std::vector<std::pair<const char*, Round>> rounds;
  anya::bench::plain_runs(*session, questions, kRows, seconds / 4);  // warm-up
  rounds.emplace_back("plain", anya::bench::plain_runs(*session, questions, kRows, seconds));
  for (const auto& [name, delay] : {std::pair("scheduler", anya::Nanos{0}), std::pair("scheduler_delay", kDelay)}) {
    anya::bench::SchedulerContender scheduler(*session, questions, kRows, delay);
    rounds.emplace_back(name, closed_loop(scheduler, questions, kInFlight, seconds));
  }
  anya::bench::EngineContender ours(*model, questions);
  rounds.emplace_back("ours", closed_loop(ours, questions, kInFlight, seconds));
  return rounds;
}

}  // namespace

int main(int count, char** arguments) try {
  const bool spoiled = count == 5 && std::string(arguments[4]) == "--spoil";
  if (count != 4 && !spoiled) {
    std::fprintf(stderr, "usage: batcher_bench LIBONNXRUNTIME MODEL SECONDS [--spoil]\n");
    return 2;
  }
  bool right = true;
  const char* separator = "{";
  for (const auto& [name, round] : measure(arguments[1], arguments[2], std::stod(arguments[3]), spoiled)) {
    std::printf(
        "%s\"%s\": {\"items_per_second\": %.1f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"answers\": %llu, "
        "\"wrong\": %llu}",
        separator, name, round.items_per_second, round.p50_us, round.p99_us,
        static_cast<unsigned long long>(round.answers), static_cast<unsigned long long>(round.wrong));
    separator = ",\n ";
    right = right && round.wrong == 0;
  }
  std::printf("}\n");
  return right ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "batcher_bench: %s\n", error.what());
  return 2;
}
