// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include "anya/trust.h"
#include "integrity/bundle.h"
#include "integrity/model_files.h"
#include "integrity/operator_library.h"
#include "integrity/registry.h"

namespace anya {

struct Trust::Impl {
  Impl(TrustOptions the_options, WallClock the_clock);

  const TrustOptions options;
  const WallClock clock;
  const integrity::CryptoContext crypto;
  const std::vector<integrity::PublicKey> keys;
  const std::vector<integrity::PublicKey> registry_keys;
  const bool asks_signature;
  const bool asks_registry;

  [[nodiscard]] TrustRegistry read_registry() const;
};

struct TrustRegistry::Impl {
  integrity::Registry registry;
};

namespace integrity {

// The trust checks of one load, in the order in which it must call them. Not thread-safe. REQUIRES: the trust and the
// files outlive it.
class TrustCheck {
 public:
  // `name`: what the model is to be called.
  TrustCheck(const Trust& trust, std::string name) : trust_(trust.impl()), name_(std::move(name)) {}

  // Reads signature and registry and holds against them what has been read, before a byte of it is parsed. From then on
  // `files` gives no byte that they do not vouch for.
  void before_parse(ModelFiles& files);
  // Holds against them what there is besides, and the whole. Gives true if the registry calls it deprecated.
  bool before_session(const ModelFiles& files, const std::string& digest);

  // Throws unless the registry, where one is asked, lets this library run. REQUIRES: before_parse.
  void check_library(const OperatorLibrary& library) const;

  // Empty until a signature was found good.
  [[nodiscard]] const std::string& signer() const noexcept { return signer_; }

 private:
  void read_signature(const ModelFiles& files);
  void check_file(const ModelFiles& files, const ModelFile& file) const;

  const Trust::Impl& trust_;
  std::string name_;
  Manifest manifest_;
  std::string signer_;
  std::optional<TrustRegistry> registry_;
};

// Reads a signature from an open file; no file is kSignatureMissing, `where` says where it was looked for.
std::string read_signature_file(const OpenFile& file, const std::string& where);

// Holds a directory as a whole against a manifest: every listed file is there with its bytes, nothing else is. Those in
// `verified` have been held against it before. Throws kFileMissing, kUnsignedFile, kHashMismatch, kUnsafeFile.
void check_tree(const CryptoContext& context, const Fd& root, const Manifest& manifest,
                const std::vector<std::string>& verified);

// Throws kHashMismatch unless the file of this name has these bytes.
void check_digest(const Resource& signed_file, const Digest& digest);

}  // namespace integrity
}  // namespace anya
