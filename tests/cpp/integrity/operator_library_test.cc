// SPDX-License-Identifier: Apache-2.0
#include "integrity/operator_library.h"

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/check.h"
#include "support/temp_dir.h"

using anya::Error;
using anya::ErrorCode;
using anya::integrity::CryptoContext;
using anya::integrity::identify_operator_library;
using anya::integrity::keep_operator_library;
using anya::integrity::model_digest;
using anya::integrity::OperatorLibrary;
using anya::integrity::RegisteredFile;
using anya::test::TempDir;

namespace {

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST(OperatorLibrary, IsKeptAsItWasWhateverBecomesOfTheFile) {
  const TempDir dir;
  const CryptoContext crypto;
  dir.write("ops.so", "code");
  const std::string path = dir / "ops.so";
  const RegisteredFile file = identify_operator_library(crypto, path);
  EXPECT_EQ(file.name, "ops.so");
  EXPECT_EQ(file.size, 4u);
  const OperatorLibrary kept = keep_operator_library(crypto, path, file.sha256);
  EXPECT_EQ(kept.name, "ops.so");
  EXPECT_EQ(kept.digest, model_digest(crypto, std::vector<RegisteredFile>{file}));
  dir.write("ops.so", "evil");
  EXPECT_EQ(content_of(kept.path), "code");
  EXPECT_ERROR(ErrorCode::kHashMismatch, static_cast<void>(keep_operator_library(crypto, path, file.sha256)));
}

TEST(OperatorLibrary, NobodyCanWriteToWhatIsKept) {
  const TempDir dir;
  const CryptoContext crypto;
  dir.write("ops.so", "sealed");
  const std::string path = dir / "ops.so";
  const OperatorLibrary kept = keep_operator_library(crypto, path, identify_operator_library(crypto, path).sha256);
  const int fd = ::open(kept.path.c_str(), O_RDWR | O_CLOEXEC);
  EXPECT_EQ(fd >= 0, true);
  EXPECT_EQ(::write(fd, "x", 1), ssize_t{-1});
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::ftruncate(fd, 0), -1);
  EXPECT_EQ(::mmap(nullptr, 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED, true);
  ::close(fd);
}

TEST(OperatorLibrary, OneContentIsKeptOnceAndTwoContentsApart) {
  const TempDir dir;
  const CryptoContext crypto;
  dir.write("a.so", "one");
  dir.write("b.so", "one");
  dir.write("c.so", "two");
  const auto keep = [&](const char* name) {
    return keep_operator_library(crypto, dir / name, identify_operator_library(crypto, dir / name).sha256);
  };
  const OperatorLibrary a = keep("a.so");
  EXPECT_EQ(keep("a.so").path, a.path);
  EXPECT_EQ(keep("b.so").path, a.path);
  EXPECT_EQ(keep("b.so").digest == a.digest, false);  // a registry knows it by its name, too
  EXPECT_EQ(content_of(keep("c.so").path), "two");
  EXPECT_EQ(content_of(a.path), "one");
}

TEST(OperatorLibrary, ADescriptorThatSomebodyElseClosedIsNoticed) {
  const TempDir dir;
  const CryptoContext crypto;
  dir.write("gone.so", "gone");
  const std::string path = dir / "gone.so";
  const std::string sha256 = identify_operator_library(crypto, path).sha256;
  const int fd =
      std::stoi(keep_operator_library(crypto, path, sha256).path.substr(std::string("/proc/self/fd/").size()));
  ::close(fd);
  EXPECT_ERROR(ErrorCode::kModelLoadError, static_cast<void>(keep_operator_library(crypto, path, sha256)));
  const int other = ::open("/dev/null", O_RDONLY | O_CLOEXEC);  // which most likely has that number now
  EXPECT_ERROR(ErrorCode::kModelLoadError, static_cast<void>(keep_operator_library(crypto, path, sha256)));
  ::close(other);
}

TEST(OperatorLibrary, NothingButAFileByItsAbsolutePath) {
  const TempDir dir;
  const CryptoContext crypto;
  dir.write("ops.so", "code");
  std::filesystem::create_symlink(dir / "ops.so", dir / "link.so");
  const auto identify = [&](const std::string& path) { static_cast<void>(identify_operator_library(crypto, path)); };
  for (const char* path : {"", "ops.so", "./ops.so", "/tmp/"}) EXPECT_ERROR(ErrorCode::kConfigError, identify(path));
  EXPECT_ERROR(ErrorCode::kConfigError, identify(std::string("/a\0b", 4)));
  EXPECT_ERROR(ErrorCode::kUnsafeFile, identify(dir / "link.so"));
  EXPECT_ERROR(ErrorCode::kUnsafeFile, identify("/dev/null"));
  EXPECT_ERROR(ErrorCode::kModelLoadError, identify(dir / "none.so"));
}
