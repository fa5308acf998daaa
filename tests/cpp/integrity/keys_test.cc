// SPDX-License-Identifier: Apache-2.0
#include "integrity/keys.h"

#include <functional>
#include <memory>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include "anya/trust.h"
#include "integrity/small_file.h"
#include "support/check.h"
#include "support/temp_dir.h"

using namespace anya::integrity;
using anya::Error;
using anya::ErrorCode;
using anya::test::TempDir;

namespace {

// A key of a kind that is not taken, as PEM.
std::string foreign(const std::function<EVP_PKEY*()>& make) {
  const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(make(), &EVP_PKEY_free);
  const std::unique_ptr<BIO, int (*)(BIO*)> bio(BIO_new(BIO_s_mem()), &BIO_free);
  if (!key || PEM_write_bio_PUBKEY(bio.get(), key.get()) != 1) throw anya::test::Fatal();
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return {data, static_cast<std::size_t>(size)};
}

mode_t mode_of(const std::string& path) {
  struct stat info{};
  return ::stat(path.c_str(), &info) == 0 ? info.st_mode & 0777 : 0;
}

}  // namespace

TEST(Keys, EveryCurveIsWrittenReadAndUsedWithAndWithoutAPassword) {
  const CryptoContext context;
  for (const char* curve : {"P-256", "P-384", "P-521"}) {
    const PrivateKey key = PrivateKey::generate(context, curve);
    for (const char* password : {"", "secret"}) {
      const std::string pem = key.pem(password);
      EXPECT_EQ(pem.find("ENCRYPTED") == std::string::npos, *password == '\0');
      const PrivateKey again = PrivateKey::from_pem(context, pem, password, "k");
      EXPECT_EQ(again.public_key().id(), key.public_key().id());
      EXPECT_TRUE(key.public_key().verifies(again.sign("a", "b"), "a", "b"));
      EXPECT_TRUE(key.public_key().verifies(again.sign("a", "b"), "", "ab"));  // the pieces are one text
    }
    EXPECT_EQ(PublicKey::from_pem(context, key.public_key().pem(), "k").id(), key.public_key().id());
  }
  EXPECT_ERROR(ErrorCode::kConfigError, PrivateKey::generate(context, "secp256k1"));
}

TEST(Keys, AWrongPasswordIsAConfigurationErrorThatDoesNotSayIt) {
  const CryptoContext context;
  const std::string pem = PrivateKey::generate(context, "P-256").pem("secret");
  for (const char* password : {"", "wrong-one"}) {
    try {
      PrivateKey::from_pem(context, pem, password, "k");
      anya::test::fail(__FILE__, __LINE__, "read");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kConfigError);
      EXPECT_TRUE(std::string(error.what()).find("password") != std::string::npos);
      EXPECT_TRUE(std::string(error.what()).find("wrong-one") == std::string::npos);
    }
  }
}

TEST(Keys, OtherKindsOfKeysAreRefusedWhenTheyAreConfigured) {
  const CryptoContext context;
  const std::pair<const char*, std::string> keys[] = {
      {"ED25519", foreign([] { return EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"); })},
      {"RSA", foreign([] { return EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", std::size_t{2048}); })},
      {"secp256k1", foreign([] { return EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "secp256k1"); })},
      {"no public key", PrivateKey::generate(context, "P-256").pem("")},
      {"no public key", "garbage"},
      {"no public key", ""},
  };
  for (const auto& [word, pem] : keys) {
    try {
      PublicKey::from_pem(context, pem, "k");
      anya::test::fail(__FILE__, __LINE__, std::string("taken: ") + word);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kConfigError);
      EXPECT_TRUE(std::string(error.what()).find(word) != std::string::npos);
    }
  }
}

TEST(Keys, OneKeyIsOneKeyHoweverItsPointIsWritten) {
  const CryptoContext context;
  const TempDir dir;
  const PrivateKey key = PrivateKey::generate(context, "P-256");
  const std::unique_ptr<BIO, int (*)(BIO*)> in(
      BIO_new_mem_buf(key.public_key().pem().data(), static_cast<int>(key.public_key().pem().size())), &BIO_free);
  const std::string compressed = foreign([&] {
    EVP_PKEY* const read = PEM_read_bio_PUBKEY(in.get(), nullptr, nullptr, nullptr);
    EVP_PKEY_set_utf8_string_param(read, "point-format", "compressed");
    return read;
  });
  EXPECT_NE(compressed, key.public_key().pem());
  EXPECT_EQ(PublicKey::from_pem(context, compressed, "k").id(), key.public_key().id());
  const std::string one = dir.write("one", key.public_key().pem());
  const std::string two = dir.write("two", compressed);
  EXPECT_EQ(read_public_keys(context, {one, two, one}).size(), 1u);
}

TEST(Keys, ThePrivateFileIsItsOwnersAloneAndNeitherIsWrittenOver) {
  const TempDir dir;
  const std::string id = anya::generate_key(dir / "k", "P-256", "");
  EXPECT_EQ(mode_of(dir / "k"), 0600u);
  EXPECT_EQ(mode_of(dir / "k.pub"), 0600u);
  EXPECT_EQ(anya::key_ids({dir / "k.pub"}), std::vector<std::string>{id});
  EXPECT_ERROR(ErrorCode::kConfigError, anya::generate_key(dir / "k", "P-256", ""));
  dir.write("other.pub", "");
  EXPECT_ERROR(ErrorCode::kConfigError, anya::generate_key(dir / "other", "P-256", ""));
  EXPECT_EQ(mode_of(dir / "other"), 0u);
  EXPECT_EQ(anya::key_ids({dir / "k.pub"}), std::vector<std::string>{id});
}

TEST(SmallFile, IsWrittenWholeOrNotAtAll) {
  const TempDir dir;
  const std::string path = dir.write("f", "old");
  write_atomically(path, "new", 0640, Existing::kReplace);
  EXPECT_EQ(read_small_file(path, 3, ErrorCode::kTrustError), "new");
  EXPECT_EQ(mode_of(path), 0640u);
  EXPECT_ERROR(ErrorCode::kConfigError, write_atomically(path, "x", 0600, Existing::kRefuse));
  EXPECT_ERROR(ErrorCode::kConfigError, write_atomically(dir / "no/f", "x", 0600, Existing::kReplace));
  EXPECT_EQ(read_small_file(path, 3, ErrorCode::kTrustError), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);  // nothing is left behind
  EXPECT_ERROR(ErrorCode::kTrustError, read_small_file(path, 2, ErrorCode::kTrustError));
  EXPECT_ERROR(ErrorCode::kTrustError, read_small_file(dir.path(), 9, ErrorCode::kTrustError));
  EXPECT_ERROR(ErrorCode::kConfigError, read_small_file(dir / "none", 9, ErrorCode::kConfigError));
  EXPECT_ERROR(ErrorCode::kConfigError, read_small_file("/dev/zero", 9, ErrorCode::kConfigError));
}
