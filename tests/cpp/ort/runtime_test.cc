// SPDX-License-Identifier: Apache-2.0
#include "ort/runtime.h"

#include <filesystem>
#include <mutex>
#include <thread>

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "anya/status.h"
#include "ort_fixture.h"
#include "support/check.h"

namespace anya::ort::test {
namespace {

// A working directory that an attacker can write to, with a file of weights that nobody verified.
class AttackedFolder {
 public:
  AttackedFolder() : before_(std::filesystem::current_path()) {
    char pattern[] = "/tmp/anya-ort-XXXXXX";
    if (mkdtemp(pattern) == nullptr) throw std::runtime_error("no temporary folder");
    folder_ = pattern;
    for (const char* const place : {"weights.bin", "attacker/weights.bin", "a/b/weights.bin"}) {
      std::filesystem::create_directories((folder_ / place).parent_path());
      const float evil[2] = {-1, -1};
      std::ofstream(folder_ / place, std::ios::binary).write(reinterpret_cast<const char*>(evil), sizeof evil);
    }
    std::filesystem::current_path(folder_ / "a/b");
  }
  ~AttackedFolder() {
    std::filesystem::current_path(before_);
    std::filesystem::remove_all(folder_);
  }

 private:
  std::filesystem::path before_;
  std::filesystem::path folder_;
};

const std::vector<float>& good_weights() {
  static const std::vector<float> weights = {7, 7};
  return weights;
}
NamedBytes table_entry(const std::string& name) { return {name, std::as_bytes(std::span(good_weights()))}; }

std::vector<float> run_with_weights(Session& session) {
  const std::vector<float> x = {1, 2};
  std::vector<OutputBuffer> out(1);
  const Status status = run(session, {floats({2}, x)}, {0}, &out);
  return status.ok() ? values<float>(out[0]) : std::vector<float>{};
}

}  // namespace

TEST(Runtime, SaysWhatItIs) {
  const auto runtime = test::runtime();
  EXPECT_EQ(library_path(), runtime->library());
  EXPECT_TRUE(runtime->version().starts_with("1."));
  bool cpu = false;
  for (const std::string& name : runtime->available_providers()) cpu = cpu || name == "CPUExecutionProvider";
  EXPECT_TRUE(cpu);
}

TEST(Runtime, TwoInOneProcessWorkAndOneOutlivesTheOther) {
  auto first = Runtime::open(library_path(), [](std::string_view) {});
  const auto second = Runtime::open(library_path());
  const auto session_of_first = first->open_session(model_bytes("scalar"), {}, {});
  const auto session_of_second = second->open_session(model_bytes("scalar"), {}, {});
  first.reset();
  const std::vector<float> x = {3};
  for (Session* const session : {session_of_first.get(), session_of_second.get()}) {
    std::vector<OutputBuffer> out(1);
    EXPECT_TRUE(run(*session, {floats({}, x)}, {0}, &out).ok());
    EXPECT_EQ(-3.0F, values<float>(out[0]).at(0));
  }
}

TEST(Runtime, WarningsGoToTheSinkOfTheirOwnRuntime) {
  std::mutex mutex;
  std::vector<std::string> lines;
  const auto quiet = Runtime::open(library_path());
  const auto loud = Runtime::open(library_path(), [&](std::string_view line) {
    const std::scoped_lock lock(mutex);
    lines.emplace_back(line);
    throw std::runtime_error("a sink that fails");  // dropped: ONNX Runtime must not see it
  });
  quiet->open_session(model_bytes("warns"), {}, {});
  EXPECT_EQ(std::size_t{0}, lines.size());
  loud->open_session(model_bytes("warns"), {}, {});
  bool found = false;
  for (const std::string& line : lines) found = found || contains(line, "nobody_uses_me");
  EXPECT_TRUE(found);
}

TEST(Runtime, OptionsFromModelsAreRefusedWithTheWayOut) {
  const auto opened_before = runtime();
  setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1", 1);
  EXPECT_ERROR(ErrorCode::kConfigError, runtime());
  EXPECT_ERROR(ErrorCode::kConfigError, opened_before->open_session(model_bytes("scalar"), {}, {}));
  unsetenv("ORT_LOAD_CONFIG_FROM_MODEL");
  EXPECT_FALSE(opened_before->open_session(model_bytes("scalar"), {}, {}) == nullptr);
}

TEST(OpenSession, BytesThatAreNoModelAreRefused) {
  const auto runtime = test::runtime();
  const auto refused = [&](std::vector<std::byte> bytes) {
    EXPECT_ERROR(ErrorCode::kModelInvalid, runtime->open_session(bytes, {}, {}));
  };
  refused({});
  refused(std::vector<std::byte>(1000, std::byte{0xAB}));
  refused(std::vector<std::byte>(1, std::byte{0}));
  std::vector<std::byte> model = model_bytes("mlp");
  model.resize(model.size() / 2);
  refused(model);
  // ONNX Runtime's own format begins with a size and "ORTM".
  std::vector<std::byte> own(64, std::byte{0});
  const std::string magic = "ORTM";
  for (std::size_t i = 0; i < magic.size(); ++i) own[4 + i] = static_cast<std::byte>(magic[i]);
  refused(own);
  refused(model_bytes("unknown_operator"));
}

TEST(OpenSession, TheModelsBytesMayGoAwayAfterIt) {
  std::vector<std::byte> model = model_bytes("mlp");
  const auto session = runtime()->open_session(model, {}, {});
  std::vector<float> x(64, 0.5F);
  std::vector<OutputBuffer> before(1);
  ASSERT_TRUE(run(*session, {floats({1, 64}, x)}, {0}, &before).ok());
  std::fill(model.begin(), model.end(), std::byte{0xFF});
  model.clear();
  model.shrink_to_fit();
  std::vector<OutputBuffer> after(1);
  ASSERT_TRUE(run(*session, {floats({1, 64}, x)}, {0}, &after).ok());
  EXPECT_TRUE(values<float>(before[0]) == values<float>(after[0]));
}

TEST(ExternalData, ComesFromTheTableAndMayGoAwayAfterTheLoad) {
  const AttackedFolder attacked;
  std::unique_ptr<Session> session;
  {
    std::vector<float> weights = good_weights();
    const NamedBytes file{"weights.bin", std::as_bytes(std::span(weights))};
    session = open("external_top", {}, {&file, 1});
    std::fill(weights.begin(), weights.end(), -5.0F);
  }
  EXPECT_TRUE(run_with_weights(*session) == (std::vector<float>{8, 9}));
}

TEST(ExternalData, IsNeverReadFromDisk) {
  const AttackedFolder attacked;
  std::filesystem::copy_file("weights.bin", "copy.bin");
  const NamedBytes table = table_entry("weights.bin");
  const NamedBytes other = table_entry("other.bin");
  for (const char* const model :
       {"external_top", "external_constant", "external_sparse", "external_subgraph", "external_outside"}) {
    // No table, and a table without the file the model asks for.
    EXPECT_ERROR(ErrorCode::kModelInvalid, open(model));
    EXPECT_ERROR(ErrorCode::kModelInvalid, open(model, {}, {&other, 1}));
  }
  // Where ONNX Runtime does not look into the table, it must find nothing at all.
  EXPECT_ERROR(ErrorCode::kModelInvalid, open("external_sparse", {}, {&table, 1}));
  EXPECT_ERROR(ErrorCode::kModelInvalid, open("external_subgraph", {}, {&table, 1}));
}

TEST(ExternalData, AFileShorterThanTheTensorIsRefused) {
  const float one = 1;
  const NamedBytes file{"weights.bin", std::as_bytes(std::span(&one, 1))};
  EXPECT_ERROR(ErrorCode::kModelInvalid, open("external_top", {}, {&file, 1}));
}

// A child of several threads may allocate with the C library, whose locks a fork takes along. A sanitizer's allocator
// has that from LLVM 18 (address) and 19 (thread), GCC 15: with older ones a child hangs where a thread that it lacks
// was just allocating.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Fork, AChildIsRefusedAndLetsGoWithoutADeadlock) {
  SessionOptions options;
  options.intra_op_num_threads = 4;
  auto runtime = test::runtime();
  auto session = runtime->open_session(model_bytes("mlp"), {}, options);
  std::vector<float> x(64, 0.5F);
  std::vector<OutputBuffer> out(1);
  ASSERT_TRUE(run(*session, {floats({1, 64}, x)}, {0}, &out).ok());
  const pid_t child = fork();
  ASSERT_TRUE(child >= 0);
  if (child == 0) {
    alarm(20);  // a deadlock ends as a signal, which the parent sees
    int verdict = 1;
    try {
      runtime->open_session(model_bytes("mlp"), {}, {});
    } catch (const Error& error) {
      verdict = error.code() == ErrorCode::kUnavailable ? 0 : 2;
    }
    out.clear();
    session.reset();
    runtime.reset();
    _exit(verdict);
  }
  int status = 0;
  ASSERT_EQ(child, waitpid(child, &status, 0));
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif

}  // namespace anya::ort::test
