// SPDX-License-Identifier: Apache-2.0
#include "ort/session.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

#include "anya/status.h"
#include "ort_fixture.h"
#include "support/check.h"

namespace anya::ort::test {
namespace {

using Floats = std::vector<float>;

const Floats kA = {1, 2, 3, 4, 5, 6};
const Floats kB = {10, 20, 30, 40, 50, 60};

std::vector<TensorView> a_and_b() { return {floats({2, 3}, kA), floats({2, 3}, kB)}; }

}  // namespace

TEST(Run, WritesIntoTheCallersMemory) {
  const auto session = open("add_sub_mul");
  Floats sum(6);
  Floats difference(6);
  Floats product(6);
  std::vector<OutputBuffer> out = {floats_into({2, 3}, &sum), floats_into({2, 3}, &difference),
                                   floats_into({2, 3}, &product)};
  ASSERT_TRUE(run(*session, a_and_b(), {0, 1, 2}, &out).ok());
  EXPECT_TRUE(sum == (Floats{11, 22, 33, 44, 55, 66}));
  EXPECT_TRUE(difference == (Floats{-9, -18, -27, -36, -45, -54}));
  EXPECT_TRUE(product == (Floats{10, 40, 90, 160, 250, 360}));
  EXPECT_TRUE(out[0].data == sum.data());
  EXPECT_TRUE(out[0].owner == nullptr);
}

TEST(Run, MakesTheMemoryWhereNoneIsGiven) {
  const auto session = open("add_sub_mul");
  std::vector<OutputBuffer> out(3);
  ASSERT_TRUE(run(*session, a_and_b(), {0, 1, 2}, &out).ok());
  EXPECT_TRUE(out[0].dtype == DType::kFloat32);
  EXPECT_TRUE(out[0].shape == (Shape{2, 3}));
  EXPECT_EQ(std::size_t{24}, out[0].bytes);
  EXPECT_TRUE(out[0].owner != nullptr);
  EXPECT_TRUE(values<float>(out[2]) == (Floats{10, 40, 90, 160, 250, 360}));
}

TEST(Run, AnswersAnySubsetInAnyOrderIntoEitherMemory) {
  const auto session = open("add_sub_mul");
  const auto control = session->make_run_control();
  Floats sum(6);
  for (int round = 0; round < 3; ++round) {  // one control, other outputs each time
    std::vector<OutputBuffer> two = {{}, floats_into({2, 3}, &sum)};
    const std::vector<std::uint32_t> product_and_sum = {2, 0};
    ASSERT_TRUE(session->run(*control, a_and_b(), product_and_sum, two).ok());
    EXPECT_TRUE(values<float>(two[0]) == (Floats{10, 40, 90, 160, 250, 360}));
    EXPECT_TRUE(sum == (Floats{11, 22, 33, 44, 55, 66}));
    std::vector<OutputBuffer> one(1);
    const std::vector<std::uint32_t> difference = {1};
    ASSERT_TRUE(session->run(*control, a_and_b(), difference, one).ok());
    EXPECT_TRUE(values<float>(one[0]) == (Floats{-9, -18, -27, -36, -45, -54}));
    std::fill(sum.begin(), sum.end(), 0.0F);
  }
}

TEST(Run, ReadsMemoryAnewEvenWhenItsAddressIsTheSame) {
  const auto session = open("scalar");
  const auto control = session->make_run_control();
  Floats x = {0};
  Floats y = {0};
  const std::vector<std::uint32_t> first = {0};
  for (int i = 1; i < 5; ++i) {
    x[0] = static_cast<float>(i);
    const std::vector<TensorView> in = {floats({}, x)};
    std::vector<OutputBuffer> out = {floats_into({}, &y)};
    ASSERT_TRUE(session->run(*control, in, first, out).ok());
    EXPECT_EQ(static_cast<float>(-i), y[0]);
  }
}

TEST(Run, TheSameAddressMayHoldAnotherShapeNextTime) {
  const auto session = open("add_sub_mul");
  const auto control = session->make_run_control();
  Floats sum(6);
  const std::vector<std::uint32_t> first = {0};
  for (const std::int64_t rows : {2, 1, 2}) {
    std::fill(sum.begin(), sum.end(), 0.0F);
    const auto bytes = static_cast<std::size_t>(rows) * 12;
    const std::vector<TensorView> in = {{DType::kFloat32, {rows, 3}, kA.data(), bytes},
                                        {DType::kFloat32, {rows, 3}, kB.data(), bytes}};
    std::vector<OutputBuffer> out = {{DType::kFloat32, {rows, 3}, sum.data(), bytes, nullptr}};
    ASSERT_TRUE(session->run(*control, in, first, out).ok());
    EXPECT_TRUE(sum == (rows == 2 ? Floats{11, 22, 33, 44, 55, 66} : Floats{11, 22, 33, 0, 0, 0}));
  }
}

TEST(Run, TheSameBytesMayHoldAnotherShapeNextTime) {
  const auto session = open("schema");
  const auto control = session->make_run_control();
  const std::vector<std::int64_t> one = {1};
  const Floats single = {1};
  const std::vector<std::uint32_t> first = {0};
  for (const Shape& shape : {Shape{1, 3, 2}, Shape{2, 3, 1}, Shape{1, 3, 2}}) {
    const std::vector<TensorView> in = {floats(shape, kA), ints({}, one), floats({1}, single), ints({1}, one)};
    std::vector<OutputBuffer> out(1);
    ASSERT_TRUE(session->run(*control, in, first, out).ok());
    EXPECT_TRUE(out[0].shape == shape);
  }
}

TEST(Run, OutputsThatNoOperatorComputesAreWrittenToo) {
  const Floats x = {1, 2};
  for (const char* const level : {"disable", "all"}) {
    SessionOptions options;
    options.graph_optimization_level = level;
    Floats copy(2);
    Floats constant(3);
    Floats neg(2);
    Floats again(2);
    std::vector<OutputBuffer> out = {floats_into({2}, &copy), floats_into({3}, &constant), floats_into({2}, &neg),
                                     floats_into({2}, &again)};
    ASSERT_TRUE(run(*open("passthrough", options), {floats({2}, x)}, {0, 1, 2, 3}, &out).ok());
    EXPECT_TRUE(copy == x);
    EXPECT_TRUE(constant == (Floats{5, 6, 7}));
    EXPECT_TRUE(neg == (Floats{-1, -2}));
    EXPECT_TRUE(again == (Floats{-1, -2}));
    Floats five(3);
    Floats same(2);
    std::vector<OutputBuffer> plain = {floats_into({3}, &five), floats_into({2}, &same), {}};
    ASSERT_TRUE(run(*open("initializer_output", options), {floats({2}, x)}, {0, 1, 2}, &plain).ok());
    EXPECT_TRUE(five == (Floats{5, 6, 7}));
    EXPECT_TRUE(same == x);
    EXPECT_TRUE(values<float>(plain[2]) == (Floats{-1, -2}));
  }
}

TEST(Run, OutputsOfBranchesAndLoopsAreWrittenToo) {
  const Floats x = {1, 2};
  for (const char* const level : {"disable", "all"}) {
    SessionOptions options;
    options.graph_optimization_level = level;
    const auto session = open("control_flow", options);
    for (const std::int64_t turns : {0, 1, 3}) {
      for (const bool branch : {true, false}) {
        const std::vector<std::uint8_t> flag = {branch};
        const std::vector<std::int64_t> count = {turns};
        const std::vector<TensorView> in = {floats({2}, x), view(DType::kBool, {}, flag), ints({}, count)};
        std::vector<Floats> memory(4, Floats(2, 99.0F));
        memory.emplace_back(static_cast<std::size_t>(2 * turns) + 1, 99.0F);
        std::vector<OutputBuffer> out;
        for (std::size_t i = 0; i < 4; ++i) out.push_back(floats_into({2}, &memory[i]));
        const auto scanned = static_cast<std::size_t>(2 * turns);
        const std::int64_t width = turns == 0 ? 0 : 2;  // no turn, no value to know the width from
        out.push_back({DType::kFloat32, {turns, width}, memory[4].data(), 4 * scanned, nullptr});
        std::vector<OutputBuffer> made(5);
        ASSERT_TRUE(run(*session, in, {0, 1, 2, 3, 4}, &made).ok());
        const Status status = run(*session, in, {0, 1, 2, 3, 4}, &out);
        if (!EXPECT_TRUE(status.ok())) std::fprintf(stderr, "%s\n", text(status).c_str());
        memory[4].resize(scanned);
        for (std::size_t i = 0; i < 5; ++i) EXPECT_TRUE(values<float>(made[i]) == memory[i]);
        EXPECT_TRUE(memory[0] == (branch ? x : Floats{-1, -2}));
        EXPECT_EQ(static_cast<float>(1 << turns), memory[3][0]);
      }
    }
  }
}

// ONNX Runtime would write one of the two memories and leave the other as it was, without an error.
TEST(Run, OneOutputAskedForTwiceIsRefused) {
  const auto session = open("add_sub_mul");
  Floats first(6);
  Floats second(6);
  std::vector<OutputBuffer> out = {floats_into({2, 3}, &first), {}, floats_into({2, 3}, &second)};
  EXPECT_TRUE(run(*session, a_and_b(), {2, 1, 2}, &out).code == ErrorCode::kInvalidInput);
}

TEST(Run, AnAnswerOfAnotherShapeThanItsMemoryStaysOutOfItAndIsGivenAllTheSame) {
  const Floats x = {1, 2};
  struct Try {
    const char* model;
    std::uint32_t index;
    Shape shape;
  };
  // Too small, too large, other rank, the same number of elements in another shape.
  for (const Try& attempt :
       {Try{"passthrough", 0, {1}}, Try{"passthrough", 1, {2}}, Try{"passthrough", 1, {4}}, Try{"passthrough", 2, {1}},
        Try{"passthrough", 3, {3}}, Try{"passthrough", 2, {2, 1}}, Try{"passthrough", 0, {1, 2}},
        Try{"initializer_output", 0, {1}}, Try{"initializer_output", 0, {1, 3}}, Try{"initializer_output", 0, {7}},
        Try{"initializer_output", 1, {1}}, Try{"initializer_output", 1, {2, 1}}, Try{"initializer_output", 1, {5}}}) {
    std::uint64_t count = 0;
    ASSERT_TRUE(attempt.shape.element_count(&count));
    Floats memory(16, 99.0F);
    std::vector<OutputBuffer> wanted(1);
    const auto session = open(attempt.model);
    ASSERT_TRUE(run(*session, {floats({2}, x)}, {attempt.index}, &wanted).ok());
    for (int round = 0; round < 2; ++round) {  // from the second on nothing is tried in vain
      std::vector<OutputBuffer> out = {
          {DType::kFloat32, attempt.shape, memory.data(), static_cast<std::size_t>(count) * 4, nullptr}};
      ASSERT_TRUE(run(*session, {floats({2}, x)}, {attempt.index}, &out).ok());
      const bool right = out[0].owner != nullptr && out[0].shape == wanted[0].shape &&
                         values<float>(out[0]) == values<float>(wanted[0]);
      if (!EXPECT_TRUE(right)) {
        std::fprintf(stderr, "%s output %u as %s\n", attempt.model, attempt.index, attempt.shape.to_string().c_str());
      }
    }
    EXPECT_TRUE(memory == Floats(16, 99.0F));
  }
}

TEST(Run, AStatedShapeThatDoesNotAlwaysHoldIsNoReasonToFail) {
  const auto session = open("first_three");  // y [3, 2] is what it states
  const auto control = session->make_run_control();
  const Floats x = {1, 2, 3, 4, 5, 6, 7, 8};
  const std::vector<std::uint32_t> first = {0};
  for (const std::int64_t rows : {4, 2, 4, 1}) {
    Floats y(6, 99.0F);
    std::vector<OutputBuffer> out = {floats_into({3, 2}, &y)};
    const std::vector<TensorView> in = {
        {DType::kFloat32, {rows, 2}, x.data(), static_cast<std::size_t>(rows) * 2 * sizeof(float)}};
    ASSERT_TRUE(session->run(*control, in, first, out).ok());
    const auto given = static_cast<std::size_t>(std::min<std::int64_t>(rows, 3)) * 2;
    EXPECT_TRUE(values<float>(out[0]) == Floats(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(given)));
    EXPECT_EQ(given == 6, out[0].owner == nullptr);  // what fits is in the caller's memory, also after one that did not
    EXPECT_EQ(given == 6, y[0] == 1.0F);
  }
}

TEST(Run, MemoryForAnotherTypeOrTooFewBytesIsAnError) {
  const auto session = open("passthrough");
  const Floats x = {1, 2};
  std::vector<std::int32_t> wrong_type(2);
  std::vector<OutputBuffer> out = {buffer(DType::kInt32, {2}, &wrong_type)};
  EXPECT_TRUE(run(*session, {floats({2}, x)}, {2}, &out).code == ErrorCode::kInvalidInput);
  Floats y(1);
  out = {{DType::kFloat32, {2}, y.data(), 4, nullptr}};
  EXPECT_FALSE(run(*session, {floats({2}, x)}, {2}, &out).ok());
}

TEST(Run, ACallThatDoesNotFitTheModelIsInvalidInput) {
  const auto session = open("add_sub_mul");
  std::vector<OutputBuffer> one(1);
  const auto code = [&](const std::vector<TensorView>& in, const std::vector<std::uint32_t>& indices) {
    return run(*session, in, indices, &one).code;
  };
  const std::vector<std::int64_t> wrong = {1, 2, 3, 4, 5, 6};
  EXPECT_TRUE(code({floats({2, 3}, kA)}, {0}) == ErrorCode::kInvalidInput);
  EXPECT_TRUE(code({}, {0}) == ErrorCode::kInvalidInput);
  EXPECT_TRUE(code(a_and_b(), {}) == ErrorCode::kInvalidInput);
  EXPECT_TRUE(code(a_and_b(), {3}) == ErrorCode::kInvalidInput);
  EXPECT_TRUE(code(a_and_b(), {0, 1}) == ErrorCode::kInvalidInput);
  const Status status = run(*session, {floats({2, 3}, kA), ints({2, 3}, wrong)}, {0}, &one);
  EXPECT_TRUE(status.code == ErrorCode::kInvalidInput && status.reason == Reason::kWrongDType);
  EXPECT_EQ(1, static_cast<int>(status.tensor));
  EXPECT_TRUE(one[0].data == nullptr);
}

TEST(Run, WhatOnnxRuntimeRefusesIsAnExecutionErrorWithItsText) {
  std::vector<OutputBuffer> one(1);
  const std::vector<std::int64_t> far = {1, 99};
  const Status status = run(*open("gather"), {ints({2}, far)}, {0}, &one);
  EXPECT_TRUE(status.code == ErrorCode::kExecutionError);
  EXPECT_TRUE(contains(text(status), "99"));
  EXPECT_FALSE(contains(text(status), "/onnxruntime"));
  EXPECT_LE(text(status).size(), std::size_t{1024});
  const Status shape = run(*open("add_sub_mul"), {floats({3, 2}, kA), floats({3, 2}, kB)}, {0}, &one);
  EXPECT_TRUE(shape.code == ErrorCode::kExecutionError);
}

// The allocators of the sanitizers end the process where the real one says no.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Run, MemoryThatCannotBeHadIsOutOfMemory) {
  std::vector<OutputBuffer> one(1);
  const std::vector<std::int64_t> huge = {std::int64_t{1} << 46};
  const auto session = open("expand");
  EXPECT_TRUE(run(*session, {ints({1}, huge)}, {0}, &one).code == ErrorCode::kOutOfMemory);
  const std::vector<std::int64_t> small = {2, 2};
  EXPECT_TRUE(run(*session, {ints({2}, small)}, {0}, &one).ok());  // and the session is as good as before
  EXPECT_TRUE(one[0].shape == (Shape{2, 2}));
}
#endif

TEST(Run, TensorsWithoutElementsWork) {
  const auto session = open("add_sub_mul");
  const TensorView empty{DType::kFloat32, {0, 3}, nullptr, 0};
  std::vector<OutputBuffer> out(1);
  ASSERT_TRUE(run(*session, {empty, empty}, {0}, &out).ok());
  EXPECT_TRUE(out[0].shape == (Shape{0, 3}));
  EXPECT_EQ(std::size_t{0}, out[0].bytes);
  EXPECT_TRUE(out[0].data != nullptr);
}

TEST(Run, AnOutputOutlivesItsSessionAndRuntime) {
  std::vector<OutputBuffer> out(1);
  {
    const auto session = open("add_sub_mul");
    ASSERT_TRUE(run(*session, a_and_b(), {0}, &out).ok());
  }
  EXPECT_TRUE(values<float>(out[0]) == (Floats{11, 22, 33, 44, 55, 66}));
}

TEST(Terminate, StopsAnEndlessLoopFromAnotherThread) {
  const auto session = open("endless");
  const auto control = session->make_run_control();
  std::atomic<bool> started{false};
  std::atomic<bool> ended{false};
  Status status;
  std::thread runner([&] {
    const Floats x = {0};
    const std::vector<TensorView> in = {floats({1}, x)};
    const std::vector<std::uint32_t> first = {0};
    std::vector<OutputBuffer> out(1);
    started = true;
    status = session->run(*control, in, first, out);
    ended = true;
  });
  while (!started) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(30));  // well into the loop
  EXPECT_FALSE(ended.load());
  control->terminate();
  runner.join();
  EXPECT_TRUE(status.code == ErrorCode::kExecutionError);
  EXPECT_TRUE(contains(text(status), "terminate"));
}

TEST(Terminate, HoldsUntilResetAndForItsOwnRunsOnly) {
  const auto session = open("scalar");
  const auto stopped = session->make_run_control();
  const auto other = session->make_run_control();
  const Floats x = {1};
  const std::vector<TensorView> in = {floats({}, x)};
  const std::vector<std::uint32_t> first = {0};
  std::vector<OutputBuffer> out(1);
  stopped->terminate();
  EXPECT_FALSE(session->run(*stopped, in, first, out).ok());
  EXPECT_TRUE(session->run(*other, in, first, out).ok());
  stopped->reset();
  out = std::vector<OutputBuffer>(1);
  EXPECT_TRUE(session->run(*stopped, in, first, out).ok());
}

TEST(Run, SeveralThreadsShareASession) {
  const auto session = open("add_sub_mul");
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&session, &wrong, t] {
      const auto control = session->make_run_control();
      const std::vector<std::uint32_t> sum_and_product = {0, 2};
      Floats sum(3);
      for (int i = 0; i < 500; ++i) {
        const Floats a(3, static_cast<float>(t));
        const Floats b(3, static_cast<float>(i));
        const std::vector<TensorView> in = {floats({1, 3}, a), floats({1, 3}, b)};
        std::vector<OutputBuffer> out = {floats_into({1, 3}, &sum), {}};
        const bool good = session->run(*control, in, sum_and_product, out).ok() &&
                          sum == Floats(3, static_cast<float>(t + i)) &&
                          values<float>(out[1]) == Floats(3, static_cast<float>(t * i));
        if (!good) wrong.fetch_add(1);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(0, wrong.load());
}

}  // namespace anya::ort::test
