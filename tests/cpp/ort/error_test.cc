// SPDX-License-Identifier: Apache-2.0
#include "ort/error.h"

#include "ort_fixture.h"
#include "support/check.h"

namespace anya::ort::test {

TEST(CleanText, SourcePathsLoseTheirFolders) {
  EXPECT_EQ(std::string("graph.cc:42 Resolve(x) failed"),
            clean_text("/onnxruntime_src/onnxruntime/core/graph/graph.cc:42 Resolve(x) failed"));
  EXPECT_EQ(std::string("at (bfc_arena.h)"), clean_text("at (/a/b-c/d+e/bfc_arena.h)"));
}

TEST(CleanText, NodeNamesThatLookLikePathsStay) {
  const std::string text = "Non-zero status code while running Gemm node. Name:'/encoder/layer.0/Gemm' a/b.cc";
  EXPECT_EQ(text, clean_text(text));
}

TEST(CleanText, IsOneBoundedLineWithoutControlCharacters) {
  EXPECT_EQ(std::string("a b c d"), clean_text("a\nb\rc\x1b"
                                               "d"));
  const std::string cut = clean_text(std::string(100000, 'x'));
  EXPECT_EQ(kMaxErrorText, cut.size());
  EXPECT_TRUE(cut.ends_with("x..."));
}

TEST(CleanText, IsNotCutWithinACharacter) {
  for (std::size_t pad = 0; pad < 3; ++pad) {
    std::string text(pad, 'x');
    while (text.size() < 2 * kMaxErrorText) text += "\xE2\x82\xAC";  // a euro sign, three bytes
    const std::string cut = clean_text(text);
    EXPECT_EQ(std::size_t{0}, (cut.size() - pad - 3) % 3);
    EXPECT_LE(cut.size(), kMaxErrorText);
  }
}

TEST(TellsOfMemory, KnowsAllocationFailuresFromOthers) {
  EXPECT_TRUE(
      tells_of_memory("BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9"));
  EXPECT_TRUE(tells_of_memory("Available memory of 1 is smaller than requested bytes of 2"));
  EXPECT_TRUE(tells_of_memory("CUDA failure 2: out of memory"));
  EXPECT_TRUE(tells_of_memory("std::bad_alloc"));
  EXPECT_FALSE(tells_of_memory("indices element out of data bounds, idx=99 must be within the inclusive range"));
}

TEST(TellsOfLostDevice, KnowsStickyErrorsFromOthers) {
  EXPECT_TRUE(tells_of_lost_device("CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=x"));
  EXPECT_TRUE(tells_of_lost_device("Non-zero status code: CUDA failure 719: unspecified launch failure ; GPU=1"));
  EXPECT_FALSE(tells_of_lost_device("CUDA failure 2: out of memory ; GPU=0"));
  EXPECT_FALSE(tells_of_lost_device("CUDA failure 1: invalid argument ; GPU=1"));
  EXPECT_FALSE(tells_of_lost_device("CUDA failure 7000: no such code"));
}

TEST(TellsOfShape, KnowsRefusedMemoryFromRefusedValues) {
  EXPECT_TRUE(
      tells_of_shape("The output OrtValue provided for output 'y' has shape {3,2} but the computed output shape"));
  EXPECT_TRUE(tells_of_shape("Got invalid dimensions for output: y"));
  EXPECT_TRUE(tells_of_shape("Invalid rank for output: y Got: 2 Expected: 1"));
  EXPECT_FALSE(tells_of_shape("indices element out of data bounds, idx=99 must be within the inclusive range"));
}

TEST(Status, SuccessIsNoStatus) {
  const Library library = open_library(library_path());
  check(library.api, nullptr, ErrorCode::kConfigError, "nothing");
  EXPECT_TRUE(to_status(library.api, nullptr).ok());
}

}  // namespace anya::ort::test
