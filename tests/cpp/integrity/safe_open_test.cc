// SPDX-License-Identifier: Apache-2.0
#include "integrity/safe_open.h"

#include <cstring>
#include <filesystem>
#include <string>
#include <utility>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "support/check.h"
#include "support/temp_dir.h"

using anya::Error;
using anya::ErrorCode;
using anya::integrity::Fd;
using anya::integrity::folder_and_name;
using anya::integrity::open_beneath;
using anya::integrity::open_directory;
using anya::integrity::open_named;
using anya::integrity::OpenFile;
using anya::integrity::OwnedBytes;
using anya::integrity::read_whole;
using anya::integrity::relative_name_fault;
using anya::integrity::Resolver;
using anya::test::TempDir;

namespace {

constexpr std::uint64_t kPlenty = 1 << 20;
constexpr Resolver kBoth[] = {Resolver::kKernel, Resolver::kByHand};

std::string text_of(const OwnedBytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.bytes().data()), bytes.size()};
}

}  // namespace

TEST(SafeOpen, APathIsAFolderAndAName) {
  using Parts = std::pair<std::string, std::string>;
  EXPECT_TRUE(folder_and_name("a/b/m.onnx") == Parts("a/b", "m.onnx"));
  EXPECT_TRUE(folder_and_name("m.onnx") == Parts(".", "m.onnx"));
  EXPECT_TRUE(folder_and_name("/m.onnx") == Parts("/", "m.onnx"));
  EXPECT_TRUE(folder_and_name("a/") == Parts("a", ""));
}

TEST(SafeOpen, ReadsAFileBelowTheRoot) {
  const TempDir dir;
  dir.write("a/b/w.bin", "weights");
  const Fd root = open_directory(dir.path());
  for (const Resolver resolver : kBoth) {
    const OpenFile file = open_beneath(root, "a/b/w.bin", resolver);
    EXPECT_EQ(file.size, 7u);
    EXPECT_EQ(text_of(read_whole(file, kPlenty)), "weights");
    EXPECT_FALSE(static_cast<bool>(open_beneath(root, "a/b/none.bin", resolver).fd));
    EXPECT_FALSE(static_cast<bool>(open_beneath(root, "none/w.bin", resolver).fd));
    EXPECT_ERROR(ErrorCode::kModelLoadError, open_beneath(root, "a/b/w.bin/x", resolver));
  }
}

TEST(SafeOpen, NoLinkIsFollowedBelowTheRoot) {
  const TempDir dir;
  const TempDir outside;
  outside.write("secret.bin", "secret");
  dir.write("real/w.bin", "w");
  std::filesystem::create_symlink(outside / "secret.bin", dir / "file_link.bin");
  std::filesystem::create_symlink("real/w.bin", dir / "inner_link.bin");
  std::filesystem::create_directory_symlink(outside.path(), dir / "dir_link");
  std::filesystem::create_symlink("nowhere", dir / "dangling.bin");
  const Fd root = open_directory(dir.path());
  for (const Resolver resolver : kBoth) {
    for (const char* name : {"file_link.bin", "inner_link.bin", "dir_link/secret.bin", "dangling.bin"}) {
      EXPECT_ERROR(ErrorCode::kUnsafeFile, open_beneath(root, name, resolver));
    }
  }
}

TEST(SafeOpen, AnotherFileSystemIsAWayOut) {
  // /proc is a file system of its own on every Linux: what lies there is not beneath "/" to us.
  const Fd root = open_directory("/");
  for (const Resolver resolver : kBoth) {
    EXPECT_ERROR(ErrorCode::kUnsafeFile, open_beneath(root, "proc/version", resolver));
  }
}

TEST(SafeOpen, OnlyRegularFilesAndNeverBlocks) {
  const TempDir dir;
  ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);  // opening it for reading would wait for a writer
  std::filesystem::create_directory(dir / "folder");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (dir / "socket").c_str(), sizeof address.sun_path - 1);
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const Fd root = open_directory(dir.path());
  for (const char* name : {"fifo", "folder", "socket"}) {
    for (const Resolver resolver : kBoth) EXPECT_ERROR(ErrorCode::kUnsafeFile, open_beneath(root, name, resolver));
    EXPECT_ERROR(ErrorCode::kUnsafeFile, open_named(root, name));
  }
  const Fd devices = open_directory("/dev");
  EXPECT_ERROR(ErrorCode::kUnsafeFile, open_named(devices, "zero"));
}

TEST(SafeOpen, AHardLinkIsHarmless) {
  const TempDir dir;
  dir.write("one", "same bytes");
  std::filesystem::create_hard_link(dir / "one", dir / "two");
  EXPECT_EQ(text_of(read_whole(open_beneath(open_directory(dir.path()), "two"), kPlenty)), "same bytes");
}

TEST(SafeOpen, AFileThatChangesSizeWhileItIsReadIsAnError) {
  const TempDir dir;
  const std::string path = dir.write("w.bin", std::string(10'000, 'w'));
  const Fd root = open_directory(dir.path());
  {
    const OpenFile file = open_beneath(root, "w.bin");
    std::filesystem::resize_file(path, 9'999);
    EXPECT_ERROR(ErrorCode::kModelLoadError, read_whole(file, kPlenty));
  }
  const OpenFile file = open_beneath(root, "w.bin");
  std::filesystem::resize_file(path, 10'001);
  EXPECT_ERROR(ErrorCode::kModelLoadError, read_whole(file, kPlenty));
  // A file that says it is empty and is not: /proc is full of them.
  EXPECT_ERROR(ErrorCode::kModelLoadError, read_whole(open_named(open_directory("/proc/self"), "status"), kPlenty));
}

TEST(SafeOpen, ASwappedFileChangesNothingThatWasRead) {
  const TempDir dir;
  const std::string path = dir.write("w.bin", "before");
  const OpenFile file = open_beneath(open_directory(dir.path()), "w.bin");
  const OwnedBytes bytes = read_whole(file, kPlenty);
  std::filesystem::resize_file(path, 0);  // with a mapping of the file this would be SIGBUS
  dir.write("w.bin", "after!");
  EXPECT_EQ(text_of(bytes), "before");
}

TEST(SafeOpen, TooBigIsRefusedBeforeMemoryIsTaken) {
  const TempDir dir;
  const std::string path = dir.write("w.bin", "");
  std::filesystem::resize_file(path, std::uintmax_t{1} << 42);  // sparse: 4 TiB that do not exist
  const OpenFile file = open_beneath(open_directory(dir.path()), "w.bin");
  try {
    read_whole(file, 1000);
    EXPECT_TRUE(!"refused");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kModelLoadError);
    EXPECT_NE(std::string(error.what()).find("4398046511104"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("1000"), std::string::npos);
    EXPECT_EQ(std::string(error.what()).find(dir.path()), std::string::npos);  // no absolute path
  }
}

TEST(SafeOpen, WhatMayNotBeReadIsALoadError) {
  const TempDir dir;
  const std::string path = dir.write("w.bin", "w");
  const Fd root = open_directory(dir.path());
  ::chmod(path.c_str(), 0);
  const bool was_root = ::geteuid() == 0;
  if (was_root) ASSERT_EQ(::seteuid(65534), 0);  // root may read everything: be nobody for a moment
  EXPECT_ERROR(ErrorCode::kModelLoadError, open_beneath(root, "w.bin"));
  if (was_root) ASSERT_EQ(::seteuid(0), 0);
}

TEST(SafeOpen, RunningOutOfDescriptorsIsALoadErrorAndLeaksNone) {
  const TempDir dir;
  dir.write("a/w.bin", "w");
  const Fd root = open_directory(dir.path());
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const Fd probe(::dup(root.get()));
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(probe.get()) + 1;  // not one more
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  for (const Resolver resolver : kBoth)
    EXPECT_ERROR(ErrorCode::kModelLoadError, open_beneath(root, "a/w.bin", resolver));
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  for (int i = 0; i < 100; ++i) {
    for (const Resolver resolver : kBoth) open_beneath(root, "a/w.bin", resolver);
  }
  const Fd after(::dup(root.get()));
  EXPECT_EQ(after.get(), probe.get() + 1);
}

TEST(RelativeName, PlainNamesOnly) {
  for (const char* good : {"w.bin", "a/b/c", "..w", "a..b/.c", "gew\xC3\xB6hnlich", "a b"}) {
    EXPECT_EQ(relative_name_fault(good), "");
  }
  using namespace std::string_view_literals;
  for (const std::string_view bad :
       {""sv, "/etc/passwd"sv, "../x"sv, "a/../../x"sv, "a/.."sv, "./x"sv, "a/./b"sv, "a//b"sv, "a/"sv, "."sv, ".."sv,
        "a\\b"sv, "a\0b"sv, "a\nb"sv, "a\x7f"sv, "\xff"sv, "\xC0\xAF"sv, "\xC2\x85x"sv}) {
    EXPECT_NE(relative_name_fault(bad), "");
  }
  EXPECT_EQ(relative_name_fault(std::string(4096, 'a')), "");
  EXPECT_NE(relative_name_fault(std::string(4097, 'a')), "");
}
