// SPDX-License-Identifier: Apache-2.0
#include "integrity/trust_check.h"

#include <filesystem>

#include "integrity/file_tree.h"
#include "integrity/signed_statements.h"
#include "support/check.h"
#include "support/temp_dir.h"

using namespace anya::integrity;
using anya::Error;
using anya::ErrorCode;
using anya::Trust;
using anya::TrustOptions;
using anya::test::hash_of;
using anya::test::TempDir;

namespace {

void write_model(const TempDir& dir) {
  dir.write("m/model.onnx", "graph");
  dir.write("m/w/a.bin", "weights");
}

Manifest manifest_of(const CryptoContext& context) {
  return {{{"model.onnx", hash_of(context, "graph")}, {"w/a.bin", hash_of(context, "weights")}}};
}

}  // namespace

TEST(TrustCheck, ADigestIsComparedToItsLastDigit) {
  const CryptoContext context;
  const Resource file{"f", hash_of(context, "graph")};
  check_digest(file, from_hex(file.sha256));
  for (const std::size_t at : {std::size_t{0}, std::size_t{31}, std::size_t{63}}) {
    std::string other = file.sha256;
    other[at] = other[at] == '0' ? '1' : '0';
    EXPECT_ERROR(ErrorCode::kHashMismatch, check_digest(file, from_hex(other)));
  }
}

TEST(TrustCheck, ADirectoryIsWhatWasSignedAndNothingElse) {
  const CryptoContext context;
  const TempDir dir;
  write_model(dir);
  const Manifest manifest = manifest_of(context);
  const Fd root = open_directory(dir / "m");
  const auto check = [&] { check_tree(context, root, manifest, {}); };
  check();
  dir.write("m/model.sig", "");
  dir.write("m/.git/anything", "");
  dir.write("m/.gitignore", "");
  check();
  dir.write("m/w/.git/inner", "");  // not at the top: a file like any other
  EXPECT_ERROR(ErrorCode::kUnsignedFile, check());
  std::filesystem::remove_all(dir / "m/w/.git");
  dir.write("m/w/a.bin", "weightt");
  EXPECT_ERROR(ErrorCode::kHashMismatch, check());
  check_tree(context, root, manifest, {"w/a.bin"});  // what was held against it before
  std::filesystem::remove(dir / "m/w/a.bin");
  EXPECT_ERROR(ErrorCode::kFileMissing, check());
  std::filesystem::create_symlink("../model.onnx", dir / "m/w/a.bin");
  EXPECT_ERROR(ErrorCode::kUnsafeFile, check());
}

TEST(TrustCheck, NothingIsGivenThatTheManifestDoesNotName) {
  const TempDir dir;
  write_model(dir);
  anya::generate_key(dir / "k", "P-256", "");
  anya::sign_model(dir / "m", dir / "k", "");
  dir.write("m/.git/w.bin", "unsigned");
  const Trust trust(TrustOptions{"signature", {dir / "k.pub"}, "", {}, 1, ""}, [] { return std::int64_t{0}; });
  TrustCheck check(trust, "m");
  ModelFiles files = ModelFiles::from_path(dir / "m");
  check.before_parse(files);
  EXPECT_EQ(check.signer(), anya::key_ids({dir / "k.pub"})[0]);
  files.read_external("w/a.bin");
  EXPECT_ERROR(ErrorCode::kUnsignedFile, files.read_external(".git/w.bin"));
  EXPECT_FALSE(check.before_session(files, "unused without a registry"));
}

TEST(TrustCheck, PoliciesThatCannotBeHeldAreRefusedWhenTheyAreMade) {
  const TempDir dir;
  anya::generate_key(dir / "k", "P-256", "");
  const auto make = [](TrustOptions options) { const Trust trust(std::move(options), anya::machine_clock()); };
  const std::string key = dir / "k.pub";
  make({"signature", {key}, "", {}, 1, ""});
  for (const TrustOptions& options :
       {TrustOptions{"signature", {}, "", {}, 1, ""}, TrustOptions{"enforce", {key}, "", {}, 1, ""},
        TrustOptions{"off", {key}, "r", {}, 1, ""}, TrustOptions{"registry", {}, "r", {}, 1, ""},
        TrustOptions{"registry", {key, key}, "r", {}, 2, ""}, TrustOptions{"registry", {key}, "r", {}, 0, ""},
        TrustOptions{"signature", {dir / "none"}, "", {}, 1, ""}}) {
    EXPECT_ERROR(ErrorCode::kConfigError, make(options));
  }
}
