// SPDX-License-Identifier: Apache-2.0
#include "integrity/model_digest.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace anya::integrity {
namespace {

template <typename Integer>
void update_little_endian(Sha256& hash, Integer value) {
  std::byte bytes[sizeof value];
  for (std::size_t i = 0; i < sizeof value; ++i) bytes[i] = static_cast<std::byte>((value >> (8 * i)) & 0xFF);
  hash.update(bytes);
}

}  // namespace

std::string model_digest(const CryptoContext& context, const std::vector<ModelFile>& files) {
  std::vector<const ModelFile*> sorted;
  for (const ModelFile& file : files) sorted.push_back(&file);
  // std::string compares as unsigned bytes: the order does not depend on a locale.
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return a->name < b->name; });

  static constexpr std::string_view kPrefix("anya-model-v1\0", 14);
  Sha256 hash(context);
  hash.update(kPrefix);
  for (const ModelFile* file : sorted) {
    update_little_endian(hash, static_cast<std::uint32_t>(file->name.size()));
    hash.update(file->name);
    update_little_endian(hash, static_cast<std::uint64_t>(file->bytes.size()));
    hash.update(sha256(context, file->bytes.bytes()));
  }
  return to_hex(hash.finish());
}

}  // namespace anya::integrity
