// SPDX-License-Identifier: Apache-2.0
//
// The engine over fake sessions: lives of models and engines, closing, forking.
#include "anya/engine.h"

#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "support/check.h"
#include "support/turnstile.h"
#include "support/value_request.h"
#include "support/watchdog.h"
#include "support/wire_writer.h"

using namespace anya::test;
using anya::Engine;
using anya::EngineDependencies;
using anya::Error;
using anya::ErrorCode;
using anya::Model;
using anya::ModelOptions;
using anya::Reason;
using anya::Request;
using anya::Status;

namespace {

// What an engine stands on, with every session open counted and every run held by the turnstile.
struct World {
  EngineDependencies dependencies() {
    return {std::make_shared<anya::SteadyClock>(),
            [this](auto, auto, const anya::SessionOptions&) -> std::unique_ptr<anya::Session> {
              if (fail_open) throw Error(ErrorCode::kModelInvalid, "no such operator");
              open.fetch_add(1);
              const std::shared_ptr<void> alive(nullptr, [this](void*) { open.fetch_sub(1); });
              return std::make_unique<FakeSession>(value_schema(), [this, alive](auto inputs, auto, auto outputs) {
                turnstile.pass();
                return value_model(inputs, outputs);
              });
            },
            "0.0", "none"};
  }
  Turnstile turnstile;
  std::atomic<int> open{0};
  bool fail_open = false;
};

std::shared_ptr<Model> load(Engine& engine, const std::string& name = "m", const ModelOptions& options = {}) {
  const Wire model = wire::model(wire::add_graph());
  return engine.load(name, "1", {{}, model.span()}, options);
}
ModelOptions one_instance() {
  ModelOptions options;
  options.instances = 1;
  return options;
}

// Asks for an answer as a synchronous caller does; the status of the outcome or of the refusal.
Status ask(Model& model, ValueRequest& request) {
  if (Status status = model.admit(request); !status.ok()) return status;
  if (!model.run_here(request)) {
    Request* only = &request;
    Status refusal;
    if (model.enqueue({&only, 1}, true, refusal) == 0) return refusal;
    EXPECT_EQ(request.wait(anya::kNever), Request::Wait::kEnded);
  }
  return request.status;
}
std::uint64_t ok_of(const Model& model) { return model.stats().ended[0]; }
std::set<std::string> descriptors() {
  std::set<std::string> out;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) out.insert(entry.path().filename());
  return out;
}
std::size_t threads() {
  std::size_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) count += entry.exists() ? 1 : 0;
  return count;
}

}  // namespace

TEST(Engine, LoadsAndAnswers) {
  const Watchdog watchdog("a load and an answer");
  World world;
  CountingOwner owner;
  ValueRequest request(owner, 3, 1.0F);
  Engine engine(world.dependencies());
  const std::shared_ptr<Model> model = load(engine);
  EXPECT_EQ(model->info().name, "m");
  EXPECT_TRUE(model->info().batchable);
  EXPECT_EQ(model->stats().accepted, 0u);  // warm-up counts nowhere
  EXPECT_TRUE(ask(*model, request).ok());
  EXPECT_TRUE(request.is_right());
  ASSERT_EQ(engine.stats().size(), 1u);
  EXPECT_EQ(engine.stats()[0].accepted, 1u);
  EXPECT_TRUE(engine.is_owner_process());
}

TEST(Engine, NeedsItsDependencies) {
  EXPECT_ERROR(ErrorCode::kConfigError, Engine(EngineDependencies{}));
  World world;
  EngineDependencies no_clock = world.dependencies();
  no_clock.clock = nullptr;
  EXPECT_ERROR(ErrorCode::kConfigError, Engine(std::move(no_clock)));
}

TEST(Engine, AFailedLoadChangesNothing) {
  World world;
  Engine engine(world.dependencies());
  world.fail_open = true;
  EXPECT_ERROR(ErrorCode::kModelInvalid, load(engine));
  EXPECT_ERROR(ErrorCode::kModelInvalid, engine.load("m", "1", {{}, as_span("garbage")}, {}));
  EXPECT_TRUE(engine.stats().empty());
  EXPECT_EQ(world.open.load(), 0);
  world.fail_open = false;
  EXPECT_TRUE(load(engine) != nullptr);
}

TEST(Engine, TwoInOneProcessKnowNothingOfEachOther) {
  const Watchdog watchdog("two engines");
  World first_world;
  World second_world;
  CountingOwner owner;
  ValueRequest one(owner, 1, 1.0F);
  ValueRequest two(owner, 1, 2.0F);
  ValueRequest three(owner, 1, 3.0F);
  Engine second(second_world.dependencies());
  std::shared_ptr<Model> in_second = load(second, "same");
  {
    Engine first(first_world.dependencies());
    const std::shared_ptr<Model> in_first = load(first, "same");
    EXPECT_TRUE(ask(*in_first, one).ok());
    EXPECT_TRUE(ask(*in_second, two).ok());
    EXPECT_EQ(in_first->stats().accepted, 1u);
    EXPECT_EQ(in_second->stats().accepted, 1u);
  }
  EXPECT_EQ(first_world.open.load(), 0);
  EXPECT_TRUE(ask(*in_second, three).ok());
  EXPECT_TRUE(three.is_right());
}

TEST(Engine, UnloadDrainsWhatIsInFlight) {
  const Watchdog watchdog("unload in flight");
  World world;
  CountingOwner owner;
  ValueRequest running(owner, 1, 1.0F);
  ValueRequest queued(owner, 2, 5.0F);
  ValueRequest late(owner, 1, 9.0F);
  Engine engine(world.dependencies());
  ModelOptions options = one_instance();
  options.batching.max_queue_size = 1;
  std::shared_ptr<Model> model = load(engine, "m", options);
  EXPECT_TRUE(model->admit(running).ok() && model->admit(queued).ok() && model->admit(late).ok());
  world.turnstile.shut();
  const int arrived = world.turnstile.arrived();
  Status refusal;
  const auto enqueue = [&](ValueRequest& request) {
    Request* only = &request;
    return model->enqueue({&only, 1}, false, refusal);
  };
  EXPECT_EQ(enqueue(running), 1u);
  world.turnstile.wait_for(arrived + 1);
  EXPECT_EQ(enqueue(queued), 1u);
  std::thread unloader([&] {
    engine.unload(model);
    EXPECT_TRUE(running.ended() && queued.ended());
  });
  // The queue is full, so the late one is refused either way: with another reason once the door is shut.
  until([&] { return enqueue(late) == 0 && refusal.code == ErrorCode::kUnavailable; });
  EXPECT_FALSE(running.ended());
  world.turnstile.open();
  unloader.join();
  EXPECT_TRUE(running.is_right() && queued.is_right());
  EXPECT_TRUE(engine.stats().empty());
  EXPECT_EQ(model->stats().in_flight, 0u);
  model.reset();
  EXPECT_EQ(world.open.load(), 0);  // the session goes with the last holder
}

TEST(Engine, CloseRefusesEverythingAfterwards) {
  const Watchdog watchdog("a closed engine");
  World world;
  CountingOwner owner;
  ValueRequest before(owner, 1, 1.0F);
  ValueRequest after(owner, 1, 2.0F);
  Engine engine(world.dependencies());
  const std::shared_ptr<Model> model = load(engine);
  EXPECT_TRUE(ask(*model, before).ok());
  engine.close();
  engine.close();
  const Status status = ask(*model, after);
  EXPECT_EQ(status.code, ErrorCode::kUnavailable);
  EXPECT_EQ(status.reason, Reason::kClosed);
  EXPECT_ERROR(ErrorCode::kUnavailable, load(engine, "another"));
  EXPECT_EQ(world.open.load(), 1);  // the refused one was let go
  EXPECT_EQ(ok_of(*model), 1u);
  engine.unload(model);
  EXPECT_TRUE(engine.stats().empty());
}

TEST(Engine, AModelMayOutliveItsEngine) {
  const Watchdog watchdog("a model that outlives its engine");
  World world;
  CountingOwner owner;
  ValueRequest request(owner, 1, 2.0F);
  std::shared_ptr<Model> model;
  {
    Engine engine(world.dependencies());
    model = load(engine);
  }
  EXPECT_EQ(ask(*model, request).code, ErrorCode::kUnavailable);
  model.reset();
  EXPECT_EQ(world.open.load(), 0);
}

TEST(Engine, LoadingAndUnloadingLeavesNothingBehind) {
  const Watchdog watchdog("a thousand loads");
  World world;
  CountingOwner owner;
  Engine engine(world.dependencies());
  load(engine, "first", one_instance());
  const auto before = descriptors();
  const std::size_t threads_before = threads();
  for (int i = 0; i < 300; ++i) {
    ValueRequest request(owner, 1, static_cast<float>(i));
    std::shared_ptr<Model> model = load(engine, "again", one_instance());
    EXPECT_TRUE(ask(*model, request).ok() && request.is_right());
    engine.unload(model);
    EXPECT_EQ(ok_of(*model), 1u);
  }
  EXPECT_EQ(engine.stats().size(), 1u);
  EXPECT_EQ(world.open.load(), 1);
  EXPECT_EQ(descriptors(), before);
  EXPECT_EQ(threads(), threads_before);
}

// Threads ask while their model is unloaded and loaded again under them: each gets a right answer or is told that the
// model is closed.
TEST(Engine, UnloadUnderTraffic) {
  const Watchdog watchdog("unload under traffic");
  World world;
  Engine engine(world.dependencies());
  for (int round = 0; round < 20; ++round) {
    const std::shared_ptr<Model> model = load(engine, "m", one_instance());
    std::atomic<int> answered{0};
    std::vector<std::thread> callers;
    for (int t = 0; t < 3; ++t) {
      callers.emplace_back([&, t] {
        CountingOwner owner;
        for (int i = 0;; ++i) {
          ValueRequest request(owner, 1, static_cast<float>(t * 1000 + i));
          const Status status = ask(*model, request);
          request.release();
          until([&owner] { return owner.reclaimed() == 1; });
          if (status.code == ErrorCode::kUnavailable) return;
          EXPECT_TRUE(request.is_right());
          owner.reset();
          answered.fetch_add(1);
        }
      });
    }
    until([&] { return answered.load() > 10; });
    engine.unload(model);
    for (std::thread& caller : callers) caller.join();
    EXPECT_EQ(model->stats().accepted, static_cast<std::uint64_t>(answered.load()));
    EXPECT_EQ(ok_of(*model), model->stats().accepted);
  }
  EXPECT_TRUE(engine.stats().empty());
}

TEST(Engine, AKeysHashDependsOnKeyAndSaltAndIsNeverZero) {
  EXPECT_EQ(Engine::key_hash("user-1", 5), Engine::key_hash("user-1", 5));
  EXPECT_NE(Engine::key_hash("user-1", 5), Engine::key_hash("user-2", 5));
  EXPECT_NE(Engine::key_hash("user-1", 5), Engine::key_hash("user-1", 6));
  for (std::uint64_t salt = 0; salt < 100; ++salt) EXPECT_NE(Engine::key_hash("", salt), 0u);
}

// A child of several threads may allocate with the C library, whose locks a fork takes along. A sanitizer's allocator
// has that from LLVM 18 (address) and 19 (thread), GCC 15: with older ones a child hangs where a thread that it lacks
// was just allocating.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
// A child gets a clear error from every door, may let go of everything, and exits; the parent goes on.
TEST(Engine, AForkedChildIsRefusedAndExitsCleanly) {
  const Watchdog watchdog("a forked child");
  World world;
  CountingOwner owner;
  ValueRequest request(owner, 1, 1.0F);
  ValueRequest in_parent(owner, 1, 2.0F);
  auto engine = std::make_unique<Engine>(world.dependencies());
  std::shared_ptr<Model> model = load(*engine);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);  // a deadlock ends here, as a signal that the parent sees
    int wrong = 0;
    const Status status = model->admit(request);
    wrong |= status.code == ErrorCode::kUnavailable && status.reason == Reason::kForked ? 0 : 1;
    wrong |= engine->is_owner_process() ? 2 : 0;
    try {
      load(*engine, "another");
      wrong |= 4;
    } catch (const Error& error) {
      wrong |= error.code() == ErrorCode::kUnavailable ? 0 : 8;
    }
    engine->unload(model);
    engine->close();
    engine.reset();
    model.reset();
    _exit(wrong);
  }
  int state = 0;
  while (waitpid(child, &state, 0) < 0) {
  }
  EXPECT_TRUE(WIFEXITED(state));
  EXPECT_EQ(WEXITSTATUS(state), 0);
  EXPECT_TRUE(ask(*model, in_parent).ok());
  EXPECT_TRUE(in_parent.is_right());
  engine->close();
}
#endif
