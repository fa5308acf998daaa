// SPDX-License-Identifier: Apache-2.0
#include "integrity/model_digest.h"

#include <algorithm>
#include <string_view>

namespace anya::integrity {
namespace {

// What the digest binds of one file.
struct Bound {
  std::string_view name;
  std::uint64_t size = 0;
  Digest sha256{};
};

template <typename Integer>
void update_little_endian(Sha256& hash, Integer value) {
  std::byte bytes[sizeof value];
  for (std::size_t i = 0; i < sizeof value; ++i) bytes[i] = static_cast<std::byte>((value >> (8 * i)) & 0xFF);
  hash.update(bytes);
}

std::string digest_of(const CryptoContext& context, std::vector<Bound> files) {
  // std::string_view compares as unsigned bytes: the order does not depend on a locale.
  std::ranges::sort(files, {}, &Bound::name);
  static constexpr std::string_view kPrefix("anya-model-v1\0", 14);
  Sha256 hash(context);
  hash.update(kPrefix);
  for (const Bound& file : files) {
    update_little_endian(hash, static_cast<std::uint32_t>(file.name.size()));
    hash.update(file.name);
    update_little_endian(hash, file.size);
    hash.update(file.sha256);
  }
  return to_hex(hash.finish());
}

}  // namespace

std::string model_digest(const CryptoContext& context, const std::vector<ModelFile>& files) {
  std::vector<Bound> bound;
  bound.reserve(files.size());
  for (const ModelFile& file : files) bound.push_back({file.name, file.bytes.size(), file.sha256});
  return digest_of(context, std::move(bound));
}

std::string model_digest(const CryptoContext& context, const std::vector<RegisteredFile>& files) {
  std::vector<Bound> bound;
  bound.reserve(files.size());
  for (const RegisteredFile& file : files) bound.push_back({file.name, file.size, from_hex(file.sha256)});
  return digest_of(context, std::move(bound));
}

}  // namespace anya::integrity
