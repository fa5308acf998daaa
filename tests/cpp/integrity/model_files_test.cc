// SPDX-License-Identifier: Apache-2.0
#include "integrity/model_files.h"

#include <filesystem>

#include <sys/stat.h>

#include "integrity/model_digest.h"
#include "support/check.h"
#include "support/temp_dir.h"

using anya::Error;
using anya::ErrorCode;
using anya::integrity::CryptoContext;
using anya::integrity::model_digest;
using anya::integrity::ModelFiles;
using anya::integrity::read_whole;
using anya::integrity::ReadLimits;
using anya::test::TempDir;

namespace {

std::span<const std::byte> span_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }
std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
std::string message_of(const std::string& path) {
  try {
    ModelFiles::from_path(path);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST(ModelFiles, ADirectoryGivesItsModelSchemaAndNamedWeights) {
  const TempDir dir;
  dir.write("m/model.onnx", "graph");
  dir.write("m/schema.toml", "rules");
  dir.write("m/data/w.bin", "weights");
  dir.write("m/README.md", "not read");
  ModelFiles files = ModelFiles::from_path(dir / "m");
  EXPECT_EQ(text_of(files.model()), "graph");
  EXPECT_EQ(text_of(files.read_external("data/w.bin")), "weights");
  EXPECT_EQ(text_of(files.read_external("data/w.bin")), "weights");  // once is enough
  ASSERT_EQ(files.files().size(), 3u);
  EXPECT_EQ(files.total_bytes(), 17u);
  EXPECT_TRUE(files.single_file().empty());
}

TEST(ModelFiles, ASingleFileFindsItsWeightsInItsOwnFolder) {
  const TempDir dir;
  dir.write("ranker.onnx", "graph");
  dir.write("schema.toml", "another model's, perhaps");
  dir.write("ranker.bin", "weights");
  ModelFiles files = ModelFiles::from_path(dir / "ranker.onnx");
  EXPECT_EQ(files.single_file(), "ranker.onnx");
  EXPECT_EQ(text_of(files.read_external("ranker.bin")), "weights");
  EXPECT_EQ(files.files().size(), 2u);  // no schema.toml: a single file has none
  EXPECT_FALSE(static_cast<bool>(files.open_beside("ranker.onnx.sig").fd));
  dir.write("ranker.onnx.sig", "signature");
  EXPECT_EQ(text_of(read_whole(files.open_beside("ranker.onnx.sig"), 100).bytes()), "signature");
  EXPECT_EQ(files.files().size(), 2u);
}

TEST(ModelFiles, LinksOnTheWayAreTheCallersOwn) {
  const TempDir dir;
  dir.write("v3/model.onnx", "graph");
  std::filesystem::create_directory_symlink("v3", dir / "current");
  EXPECT_EQ(text_of(ModelFiles::from_path(dir / "current").model()), "graph");
  EXPECT_EQ(text_of(ModelFiles::from_path(dir / "current/model.onnx").model()), "graph");
}

TEST(ModelFiles, ALinkInPlaceOfAFileIsRefused) {
  const TempDir dir;
  dir.write("real.onnx", "graph");
  std::filesystem::create_symlink("real.onnx", dir / "link.onnx");
  EXPECT_ERROR(ErrorCode::kUnsafeFile, ModelFiles::from_path(dir / "link.onnx"));
  std::filesystem::create_directory(dir / "m");
  std::filesystem::create_symlink("../real.onnx", dir / "m/model.onnx");
  EXPECT_ERROR(ErrorCode::kUnsafeFile, ModelFiles::from_path(dir / "m"));
  dir.write("n/model.onnx", "graph");
  std::filesystem::create_symlink("../real.onnx", dir / "n/schema.toml");
  EXPECT_ERROR(ErrorCode::kUnsafeFile, ModelFiles::from_path(dir / "n"));
}

TEST(ModelFiles, WhatIsNotThereIsALoadErrorWithoutAnAbsolutePath) {
  const TempDir dir;
  std::filesystem::create_directory(dir / "empty");
  for (const std::string& path : {dir / "none.onnx", dir / "none/model.onnx", dir / "empty", std::string()}) {
    EXPECT_ERROR(ErrorCode::kModelLoadError, ModelFiles::from_path(path));
    EXPECT_EQ(message_of(path).find(dir.path()), std::string::npos);
  }
  EXPECT_NE(message_of(dir / "none.onnx").find("'none.onnx'"), std::string::npos);
  EXPECT_NE(message_of(dir / "empty").find("holds no model.onnx"), std::string::npos);
  EXPECT_ERROR(ErrorCode::kModelLoadError, ModelFiles::from_path(std::string("a\0b", 3)));
}

TEST(ModelFiles, AFolderOrPipeNamedModelOnnxIsUnsafe) {
  const TempDir dir;
  std::filesystem::create_directories(dir / "m/model.onnx");
  EXPECT_ERROR(ErrorCode::kUnsafeFile, ModelFiles::from_path(dir / "m"));
  std::filesystem::create_directory(dir / "p");
  ASSERT_EQ(::mkfifo((dir / "p/model.onnx").c_str(), 0600), 0);
  EXPECT_ERROR(ErrorCode::kUnsafeFile, ModelFiles::from_path(dir / "p"));
  EXPECT_ERROR(ErrorCode::kUnsafeFile, ModelFiles::from_path(dir / "p/model.onnx"));
}

TEST(ModelFiles, WeightsWithANameOfNoPlainPathAreRefused) {
  const TempDir dir;
  dir.write("m/model.onnx", "graph");
  dir.write("secret.bin", "secret");
  ModelFiles files = ModelFiles::from_path(dir / "m");
  for (const char* name : {"../secret.bin", "/etc/hostname", "a/../../secret.bin", "a\\b", "", "./w",
                           "*/_ORT_MEM_ADDR_/*/..", "model.onnx", "schema.toml", "model.sig", "profile.json"}) {
    EXPECT_ERROR(ErrorCode::kModelInvalid, files.read_external(name));
  }
  EXPECT_ERROR(ErrorCode::kModelLoadError, files.read_external("missing.bin"));
  std::filesystem::create_symlink("../secret.bin", dir / "m/link.bin");
  EXPECT_ERROR(ErrorCode::kUnsafeFile, files.read_external("link.bin"));
  EXPECT_EQ(files.files().size(), 1u);
}

TEST(ModelFiles, BytesAreCopiedAndHaveNoOtherFiles) {
  std::string given = "graph";
  ModelFiles files = ModelFiles::from_bytes(span_of(given));
  given = "other";
  EXPECT_EQ(text_of(files.model()), "graph");
  EXPECT_ERROR(ErrorCode::kModelInvalid, files.read_external("w.bin"));
  EXPECT_FALSE(static_cast<bool>(files.open_beside("model.sig").fd));
  EXPECT_EQ(ModelFiles::from_bytes({}).model().size(), 0u);
}

TEST(ModelFiles, AProfileIsNoPartOfTheModelButHeldAgainstTheSameCheck) {
  const TempDir dir;
  dir.write("m/model.onnx", "graph");
  ModelFiles files = ModelFiles::from_path(dir / "m");
  EXPECT_EQ(files.read_profile(), "");
  dir.write("m/profile.json", "{}");
  EXPECT_EQ(files.read_profile(), "{}");
  EXPECT_EQ(files.files().size(), 1u);
  EXPECT_EQ(ModelFiles::from_path(dir / "m/model.onnx").read_profile(), "");
  EXPECT_EQ(ModelFiles::from_bytes(span_of("graph")).read_profile(), "");
  files.expect([](const auto& file) {
    if (file.name == "profile.json") throw Error(ErrorCode::kHashMismatch, "another");
  });
  EXPECT_ERROR(ErrorCode::kHashMismatch, static_cast<void>(files.read_profile()));
  ReadLimits limits;
  limits.max_profile_bytes = 1;
  EXPECT_ERROR(ErrorCode::kModelLoadError, static_cast<void>(ModelFiles::from_path(dir / "m", limits).read_profile()));
}

TEST(ModelFiles, LimitsHoldBeforeMemoryIsTaken) {
  const TempDir dir;
  const std::string huge = dir.write("huge.onnx", "");
  std::filesystem::resize_file(huge, (std::uintmax_t{1} << 31));
  EXPECT_ERROR(ErrorCode::kModelInvalid, ModelFiles::from_path(huge));  // more than an ONNX file can hold
  dir.write("m/model.onnx", "graph");
  dir.write("m/a", "12345678");
  dir.write("m/b", "1");
  ReadLimits limits;
  limits.max_file_bytes = 7;
  EXPECT_ERROR(ErrorCode::kModelLoadError, ModelFiles::from_path(dir / "m", limits).read_external("a"));
  limits = {};
  limits.max_total_bytes = 12;
  EXPECT_ERROR(ErrorCode::kModelLoadError, ModelFiles::from_path(dir / "m", limits).read_external("a"));
  limits = {};
  limits.max_files = 2;
  ModelFiles files = ModelFiles::from_path(dir / "m", limits);
  files.read_external("a");
  EXPECT_ERROR(ErrorCode::kModelLoadError, files.read_external("b"));
}

TEST(ModelDigest, IsTheSameHoweverTheModelCame) {
  const TempDir dir;
  dir.write("m/model.onnx", "graph");
  dir.write("ranker.onnx", "graph");
  const CryptoContext context;
  const std::string digest = model_digest(context, ModelFiles::from_path(dir / "m").files());
  EXPECT_EQ(digest, model_digest(context, ModelFiles::from_path(dir / "ranker.onnx").files()));
  EXPECT_EQ(digest, model_digest(context, ModelFiles::from_bytes(span_of("graph")).files()));
  // Made with hashlib: sha256(b"anya-model-v1\0" + <I 10> + b"model.onnx" + <Q 5> + sha256(b"graph"))
  EXPECT_EQ(digest, "cafc32c2c7cf597fbad5c58c15d3ce3ebc54ed6a64cf2489ea290d6978889cbe");
}

TEST(ModelDigest, BindsNamesAndTheOrderOfReadingDoesNotMatter) {
  const TempDir dir;
  for (const char* folder : {"one/", "two/"}) {
    dir.write(std::string(folder) + "model.onnx", "graph");
    dir.write(std::string(folder) + "schema.toml", "rules");
    dir.write(std::string(folder) + "a.bin", "first");
    dir.write(std::string(folder) + "b.bin", "second");
  }
  const CryptoContext context;
  ModelFiles one = ModelFiles::from_path(dir / "one");
  one.read_external("a.bin");
  one.read_external("b.bin");
  ModelFiles two = ModelFiles::from_path(dir / "two");
  two.read_external("b.bin");
  two.read_external("a.bin");
  const std::string digest = model_digest(context, one.files());
  EXPECT_EQ(digest, model_digest(context, two.files()));
  EXPECT_EQ(digest, "26b342f6acaa5e59e65502eecd56f15b3cba84e53964a8d046ec940e2acf5c6c");
  // Contents swapped between two names: another model.
  dir.write("two/a.bin", "second");
  dir.write("two/b.bin", "first");
  ModelFiles swapped = ModelFiles::from_path(dir / "two");
  swapped.read_external("a.bin");
  swapped.read_external("b.bin");
  EXPECT_NE(digest, model_digest(context, swapped.files()));
}

TEST(ModelFiles, ReadsManyLargeFilesAtOnceAndHashesEachAsItIs) {
  const TempDir dir;
  dir.write("m/model.onnx", "graph");
  std::vector<std::string> names;
  for (int i = 0; i < 9; ++i) {
    names.push_back("w" + std::to_string(i));
    // Around the sizes at which another thread begins to hash, and at which one read becomes two.
    dir.write("m/" + names.back(),
              std::string((std::size_t{1} << (18 + i % 6)) + static_cast<std::size_t>(i) - 4, 'a'));
  }
  ModelFiles files = ModelFiles::from_path(dir / "m");
  files.read_externals(names);
  const CryptoContext context;
  ASSERT_EQ(files.files().size(), 10u);
  for (const auto& file : files.files()) {
    EXPECT_TRUE(file.sha256 == anya::integrity::sha256(context, file.bytes.bytes()));
  }
  EXPECT_EQ(files.files()[3].name, "w2");  // in the order in which they were named
}

TEST(ModelFiles, WhatIsExpectedHoldsForFilesReadBeforeAndAfter) {
  const TempDir dir;
  dir.write("m/model.onnx", "graph");
  dir.write("m/w", "weights");
  ModelFiles files = ModelFiles::from_path(dir / "m");
  const auto refuse = [](const char* name) {
    return [name](const anya::integrity::ModelFile& file) {
      if (file.name == name) throw Error(ErrorCode::kHashMismatch, "no");
    };
  };
  EXPECT_ERROR(ErrorCode::kHashMismatch, files.expect(refuse("model.onnx")));
  files.expect(refuse("w"));
  EXPECT_ERROR(ErrorCode::kHashMismatch, files.read_external("w"));
  EXPECT_EQ(files.files().size(), 1u);
}
