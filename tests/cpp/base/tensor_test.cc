// SPDX-License-Identifier: Apache-2.0
#include "anya/tensor.h"

#include "support/check.h"

using anya::DType;
using anya::Shape;

TEST(Tensor, EverySizeIsNumpys) {
  EXPECT_EQ(anya::element_size(DType::kFloat32), 4u);
  EXPECT_EQ(anya::element_size(DType::kBool), 1u);
  EXPECT_EQ(anya::element_size(DType::kBFloat16), 2u);
  EXPECT_EQ(anya::element_size(DType::kInt64), 8u);
  EXPECT_EQ(anya::element_size(DType::kString), sizeof(std::string_view));
  EXPECT_EQ(anya::element_size(DType::kUndefined), 0u);
  EXPECT_EQ(anya::element_size(static_cast<DType>(14)), 0u);  // complex64: not a type we run
  EXPECT_EQ(anya::dtype_name(DType::kString), "str");
  EXPECT_EQ(anya::dtype_name(static_cast<DType>(14)), "undefined");
}

TEST(Shape, CountsElementsFromAnAxis) {
  std::uint64_t count = 0;
  ASSERT_TRUE((Shape{2, 3, 4}).element_count(&count));
  EXPECT_EQ(count, 24u);
  ASSERT_TRUE((Shape{2, 3, 4}).element_count(&count, 1));
  EXPECT_EQ(count, 12u);
  ASSERT_TRUE(Shape{}.element_count(&count));
  EXPECT_EQ(count, 1u);
  ASSERT_TRUE((Shape{0, 5}).element_count(&count));
  EXPECT_EQ(count, 0u);
}

TEST(Shape, RefusesWhatDoesNotCount) {
  std::uint64_t count = 0;
  const std::int64_t big = std::int64_t{1} << 33;
  EXPECT_FALSE((Shape{big, big}).element_count(&count));
  EXPECT_FALSE((Shape{big, big, 0}).element_count(&count));  // the zero does not hide the overflow
  EXPECT_FALSE((Shape{-1, 3}).element_count(&count));
  EXPECT_TRUE((Shape{-1, 3}).element_count(&count, 1));
}

TEST(Shape, ReadsAsWritten) {
  EXPECT_EQ((Shape{2, -1, 3}).to_string(), "[2, ?, 3]");
  EXPECT_EQ(Shape{}.to_string(), "[]");
}
