// SPDX-License-Identifier: Apache-2.0
//
// Which models may run: keys that sign them, and a registry that lists them. Also what makes both: keys, signatures,
// registries. Everything here blocks on the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "anya/status.h"

namespace anya {

// What must hold before a model is parsed; see TrustConfig in src/anya_engine/trust.py.
struct TrustOptions {
  std::string mode = "enforce";            // "enforce", "registry" or "signature"
  std::vector<std::string> keys;           // paths of public keys whose signatures are believed
  std::string registry;                    // path of the registry; "" where the mode needs none
  std::vector<std::string> registry_keys;  // paths of public keys that sign it; none: `keys`
  int registry_threshold = 1;              // how many of them must
  std::string floor;                       // where the newest registry seen is kept; "": beside it, with ".floor"
};

// Seconds since 1970, as the machine believes.
using WallClock = std::function<std::int64_t()>;
WallClock machine_clock();

// What a load has decided, and on which facts.
struct TrustVerdict {
  ErrorCode code = ErrorCode::kOk;  // kOk: it may run
  std::string digest;               // of the files read until then
  std::string signer;               // the id of the key; "" where no signature was verified
  bool deprecated = false;          // the registry lets it run and asks for another
};

// One reading of a registry. Immutable; thread-safe.
class TrustRegistry {
 public:
  struct Impl;
  explicit TrustRegistry(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  // Whether what was loaded as `name` may go on. Throws the reason: kRevoked and its like. True: it is deprecated.
  [[nodiscard]] bool check(std::string_view name, std::string_view digest, std::string_view signer) const;
  [[nodiscard]] std::uint64_t version() const noexcept;
  [[nodiscard]] const Impl& impl() const noexcept { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

// A policy with its keys read. Immutable; thread-safe; shared by all models under it.
class Trust {
 public:
  // Throws kConfigError: a key that cannot be read or is of a kind that is not taken, a threshold above their number.
  Trust(TrustOptions options, WallClock clock);
  ~Trust();
  Trust(const Trust&) = delete;
  Trust& operator=(const Trust&) = delete;

  [[nodiscard]] const TrustOptions& options() const noexcept;
  // Reads the registry anew and raises its floor. Throws kTrustError and its like: it cannot be read, is not signed by
  // enough root keys, has expired, or is older than one already seen.
  [[nodiscard]] TrustRegistry read_registry() const;

  struct Impl;
  [[nodiscard]] const Impl& impl() const noexcept { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

// ---- what makes them

// Writes a new private key, and beside it its public half as `path` + ".pub", both readable by their owner alone: to
// hand a key out is a decision. Refuses to write over either. Gives the key's id. Throws kConfigError.
std::string generate_key(const std::string& path, const std::string& curve, const std::string& password);
// The ids of public keys.
std::vector<std::string> key_ids(const std::vector<std::string>& paths);

// A signature file and what it says.
struct SignatureFacts {
  std::string path;
  std::string signer;
  std::vector<std::pair<std::string, std::string>> files;  // name, SHA-256
};
// Signs an .onnx file (into FILE.sig) or a directory with all it holds (into model.sig in it).
SignatureFacts sign_model(const std::string& path, const std::string& key, const std::string& password);
// Holds a file or a directory, whole, against its signature. Throws kTrustError and its like.
SignatureFacts verify_model(const std::string& path, const std::vector<std::string>& keys);

// The signature file over any statement, well-formed or not: what breaks things on purpose needs it.
std::string sign_statement(std::string_view statement, const std::string& key, const std::string& password);

// What a registry says of a model: its identity, and the files that are parsed of it.
struct ModelIdentity {
  std::string digest;
  struct File {
    std::string name;
    std::uint64_t size = 0;
    std::string sha256;
  };
  std::vector<File> files;
};
// Reads and walks a model, as a load would. Throws as a load does.
ModelIdentity identify_model(const std::string& path);
// The same of a library of operators, by its absolute path.
ModelIdentity identify_operator_library(const std::string& path);

struct PrivateKeyFile {
  std::string path;
  std::string password;
};
// The text of a registry file over this payload, signed by each key once. Throws kSignatureMalformed for a payload that
// is no registry.
std::string sign_registry(std::string_view payload, const std::vector<PrivateKeyFile>& keys);
// The payload of a registry file, and the ids of those keys that have signed it; a private key stands for its public
// half. Throws kSignatureMalformed.
std::pair<std::string, std::vector<std::string>> open_registry(std::string_view text,
                                                               const std::vector<std::string>& keys,
                                                               const std::vector<PrivateKeyFile>& private_keys = {});
// The same registry with more signatures.
std::string add_signatures(std::string_view text, const std::vector<PrivateKeyFile>& keys);

// Writes in one step: at any moment the old file or the new one is whole. Throws kConfigError.
void write_file(const std::string& path, std::string_view content, unsigned mode);

}  // namespace anya
