// SPDX-License-Identifier: Apache-2.0
#include "ort/value.h"

#include <string_view>

#include "anya/status.h"
#include "ort_fixture.h"
#include "support/check.h"

namespace anya::ort::test {
namespace {

using namespace std::string_view_literals;

using Words = std::vector<std::string_view>;

TensorView words(const Words& data) { return view(DType::kString, {static_cast<std::int64_t>(data.size())}, data); }

}  // namespace

TEST(Strings, NulsUtf8AndEmptyOnesSurviveBothWays) {
  const auto session = open("strings");
  const std::string long_one(100000, 'L');
  const Words in = {"plain", "nul\0within\0"sv, "", "\xE2\x82\xAC \xF0\x9F\x98\x80", "\0"sv, long_one, ""};
  const std::vector<std::int64_t> order = {5, 4, 3, 2, 1, 0, 6, 1};
  std::vector<OutputBuffer> out(2);
  ASSERT_TRUE(run(*session, {words(in), ints({8}, order)}, {0, 1}, &out).ok());
  EXPECT_TRUE(out[0].dtype == DType::kString);
  EXPECT_TRUE(out[0].shape == (Shape{7}));
  EXPECT_EQ(7 * sizeof(std::string_view), out[0].bytes);
  EXPECT_TRUE(values<std::string_view>(out[0]) == in);
  EXPECT_TRUE(values<std::string_view>(out[1]) ==
              (Words{long_one, "\0"sv, in[3], "", "nul\0within\0"sv, "plain", "", "nul\0within\0"sv}));
}

TEST(Strings, AreReadAnewWhenTheirAddressIsTheSame) {
  const auto session = open("strings");
  const auto control = session->make_run_control();
  const std::vector<std::uint32_t> same = {0};
  const std::vector<std::int64_t> order = {0};
  Words in = {"first"};
  for (const std::string_view text : {"first"sv, "other"sv, "a much longer third one"sv}) {
    in[0] = text;
    const std::vector<TensorView> views = {words(in), ints({1}, order)};
    std::vector<OutputBuffer> out(1);
    ASSERT_TRUE(session->run(*control, views, same, out).ok());
    EXPECT_TRUE(values<std::string_view>(out[0]) == Words{text});
  }
}

TEST(Strings, NoneAtAllWork) {
  const auto session = open("strings");
  const std::vector<std::int64_t> none;
  std::vector<OutputBuffer> out(2);
  ASSERT_TRUE(run(*session, {words({}), ints({0}, none)}, {0, 1}, &out).ok());
  EXPECT_EQ(std::size_t{0}, out[0].bytes);
  EXPECT_TRUE(out[0].data != nullptr && out[0].owner != nullptr);
}

TEST(Strings, OutliveTheSession) {
  std::vector<OutputBuffer> out(1);
  const Words in = {"still", "here"};
  const std::vector<std::int64_t> order = {0};
  ASSERT_TRUE(run(*open("strings"), {words(in), ints({1}, order)}, {0}, &out).ok());
  EXPECT_TRUE(values<std::string_view>(out[0]) == in);
}

TEST(Numbers, EveryTypePassesBitByBit) {
  const auto session = open("types");
  const std::vector<TensorSpec>& specs = session->schema().inputs;
  // 2 x 3 elements of distinct bytes; truth values are 0 and 1, as ONNX has them.
  std::vector<std::vector<std::uint8_t>> given;
  std::vector<std::vector<std::uint8_t>> into;
  for (const TensorSpec& spec : specs) {
    const std::size_t size = element_size(spec.dtype);
    std::vector<std::uint8_t> bytes(6 * size);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::uint8_t>(spec.dtype == DType::kBool ? i % 2 : 7 * i + 1);
    }
    given.push_back(bytes);
    into.emplace_back(bytes.size());
  }
  std::vector<TensorView> inputs;
  std::vector<OutputBuffer> in_place;
  std::vector<std::uint32_t> all;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    inputs.push_back(view(specs[i].dtype, {2, 3}, given[i]));
    in_place.push_back(buffer(specs[i].dtype, {3, 2}, &into[i]));
    all.push_back(static_cast<std::uint32_t>(i));
  }
  std::vector<OutputBuffer> made(specs.size());
  ASSERT_TRUE(run(*session, inputs, all, &in_place).ok());
  ASSERT_TRUE(run(*session, inputs, all, &made).ok());
  for (std::size_t k = 0; k < specs.size(); ++k) {
    const std::size_t size = element_size(specs[k].dtype);
    std::vector<std::uint8_t> transposed;
    for (const std::size_t element : {0U, 3U, 1U, 4U, 2U, 5U}) {
      const auto first = given[k].begin() + static_cast<std::ptrdiff_t>(element * size);
      transposed.insert(transposed.end(), first, first + static_cast<std::ptrdiff_t>(size));
    }
    EXPECT_TRUE(into[k] == transposed);
    EXPECT_TRUE(made[k].dtype == specs[k].dtype);
    EXPECT_TRUE(values<std::uint8_t>(made[k]) == transposed);
  }
}

TEST(Numbers, ScalarsHaveNoAxes) {
  const auto session = open("scalar");
  const std::vector<float> x = {2.5F};
  std::vector<OutputBuffer> out(1);
  ASSERT_TRUE(run(*session, {floats({}, x)}, {0}, &out).ok());
  EXPECT_EQ(std::size_t{0}, out[0].shape.rank());
  EXPECT_EQ(std::size_t{4}, out[0].bytes);
  EXPECT_EQ(-2.5F, values<float>(out[0])[0]);
}

}  // namespace anya::ort::test
