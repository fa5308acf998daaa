// SPDX-License-Identifier: Apache-2.0
#include "anya/trust.h"

#include <ctime>
#include <utility>

#include "integrity/registry_floor.h"
#include "integrity/small_file.h"
#include "integrity/trust_check.h"

namespace anya {
namespace {

[[noreturn]] void refuse(const char* field, const std::string& what) {
  throw Error(ErrorCode::kConfigError, std::string(field) + ": " + what, field);
}

}  // namespace

WallClock machine_clock() {
  return [] { return static_cast<std::int64_t>(std::time(nullptr)); };
}

Trust::Impl::Impl(TrustOptions the_options, WallClock the_clock)
    : options(std::move(the_options)),
      clock(std::move(the_clock)),
      keys(integrity::read_public_keys(crypto, options.keys)),
      registry_keys(
          integrity::read_public_keys(crypto, options.registry_keys.empty() ? options.keys : options.registry_keys)),
      asks_signature(options.mode != "registry"),
      asks_registry(options.mode != "signature") {
  if (options.mode != "enforce" && options.mode != "registry" && options.mode != "signature") {
    refuse("mode", "must be one of enforce, registry, signature");
  }
  if (asks_signature && keys.empty()) refuse("keys", "the mode '" + options.mode + "' needs keys that sign models");
  if (!asks_registry) return;
  if (options.registry.empty()) refuse("registry", "the mode '" + options.mode + "' needs a registry");
  if (registry_keys.empty()) refuse("registry_keys", "the registry must be signed by keys that are trusted for it");
  if (options.registry_threshold < 1 || static_cast<std::size_t>(options.registry_threshold) > registry_keys.size()) {
    refuse("registry_threshold", "must be 1 to the number of different keys, " + std::to_string(registry_keys.size()));
  }
}

TrustRegistry Trust::Impl::read_registry() const {
  const std::string text =
      integrity::read_small_file(options.registry, integrity::kMaxRegistryBytes, ErrorCode::kTrustError);
  auto read = std::make_shared<TrustRegistry::Impl>();
  read->registry =
      integrity::read_registry(crypto, text, registry_keys, static_cast<std::size_t>(options.registry_threshold));
  const std::string floor = options.floor.empty() ? options.registry + ".floor" : options.floor;
  integrity::FloorFile(floor).raise(read->registry, clock());
  return TrustRegistry(std::move(read));
}

Trust::Trust(TrustOptions options, WallClock clock)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(clock))) {}
Trust::~Trust() = default;

const TrustOptions& Trust::options() const noexcept { return impl_->options; }

TrustRegistry Trust::read_registry() const {
  if (!impl_->asks_registry) throw Error(ErrorCode::kConfigError, "the mode 'signature' has no registry", "mode");
  return impl_->read_registry();
}

bool TrustRegistry::check(std::string_view name, std::string_view digest, std::string_view signer) const {
  return integrity::check_registered(impl_->registry, name, digest, signer).status ==
         integrity::RegistryStatus::kDeprecated;
}

std::uint64_t TrustRegistry::version() const noexcept { return impl_->registry.version; }

}  // namespace anya
