// SPDX-License-Identifier: Apache-2.0
//
// Statements and registries to break, signed after they were broken: a stale signature would prove nothing.
#pragma once

#include <string>
#include <string_view>

#include "integrity/bundle.h"
#include "integrity/dsse.h"
#include "integrity/registry.h"
#include "support/check.h"

namespace anya::test {

// `text` with the one place of `part` replaced.
inline std::string with(std::string text, std::string_view part, std::string_view instead) {
  const std::size_t at = text.find(part);
  if (at == std::string::npos) {
    fail(__FILE__, __LINE__, "there is no " + std::string(part) + " to break");
    throw Fatal();
  }
  return text.replace(at, part.size(), instead);
}

inline std::string hash_of(const integrity::CryptoContext& context, std::string_view text) {
  return integrity::to_hex(integrity::sha256(context, std::as_bytes(std::span(text.data(), text.size()))));
}

// Of a directory with model.onnx ("graph") and w/a.bin ("weights").
inline std::string statement(const integrity::CryptoContext& context) {
  return statement_text(
      context,
      integrity::Manifest{{{"model.onnx", hash_of(context, "graph")}, {"w/a.bin", hash_of(context, "weights")}}}, "m");
}

// One model of one file, `name`, version 3.
inline std::string registry_payload(const std::string& digest, const std::string& file,
                                    std::string_view version = "7") {
  return "{\"version\":" + std::string(version) +
         ",\"issued\":\"2026-01-01T00:00:00Z\",\"expires\":\"2026-03-01T00:00:00Z\",\"models\":[{\"name\":\"ranker\","
         "\"version\":3,\"digest\":\"" +
         digest + "\",\"files\":[{\"name\":\"model.onnx\",\"size\":5,\"sha256\":\"" + file +
         "\"}],\"signers\":[],\"status\":\"active\",\"reason\":\"\"}],\"revoked_keys\":[],\"revoked_digests\":[],"
         "\"min_version\":{}}";
}

}  // namespace anya::test
