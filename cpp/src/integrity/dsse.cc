// SPDX-License-Identifier: Apache-2.0
#include "integrity/dsse.h"

#include <algorithm>

#include "base/text.h"
#include "integrity/base64.h"

namespace anya::integrity {

std::string pae_head(std::string_view payload_type, std::size_t payload_size) {
  std::string head = "DSSEv1 " + std::to_string(payload_type.size()) + " ";
  return head.append(payload_type) + " " + std::to_string(payload_size) + " ";
}

Envelope read_envelope(const Json& json, std::string_view payload_type, std::size_t max_signatures) {
  json.only({"payload", "payloadType", "signatures"});
  Envelope envelope;
  envelope.payload_type = json.string_at("payloadType");
  if (envelope.payload_type != payload_type) {
    throw Malformed("its payload is of the type " + quoted(envelope.payload_type, 80) + ", not " +
                    quoted(payload_type, 80));
  }
  const std::vector<Json>& signatures = json.array_at("signatures");
  if (signatures.empty() || signatures.size() > max_signatures) {
    throw Malformed("it has " + std::to_string(signatures.size()) + " signatures; it must have " +
                    (max_signatures == 1 ? "one" : "1 to " + std::to_string(max_signatures)));
  }
  for (const Json& each : signatures) {
    each.only({"sig", "keyid"});
    const Json* const name = each.find("keyid");
    const bool named = name != nullptr && name->kind != Json::Kind::kNull;
    envelope.signatures.push_back({from_base64(each.string_at("sig")), named ? each.string_at("keyid") : ""});
  }
  envelope.payload = from_base64(json.string_at("payload"));
  return envelope;
}

bool signed_by(const Envelope& envelope, const PublicKey& key) {
  const std::string head = pae_head(envelope.payload_type, envelope.payload.size());
  return std::ranges::any_of(envelope.signatures, [&](const EnvelopeSignature& each) {
    return key.verifies(each.signature, head, envelope.payload);
  });
}

std::string sign_payload(const PrivateKey& key, std::string_view payload_type, std::string_view payload) {
  return key.sign(pae_head(payload_type, payload.size()), payload);
}

std::string envelope_text(std::string_view payload_type, std::string_view payload,
                          const std::vector<EnvelopeSignature>& signatures) {
  std::string text =
      "{\"payload\":\"" + base64(payload) + "\",\"payloadType\":" + json_quoted(payload_type) + ",\"signatures\":[";
  for (const EnvelopeSignature& each : signatures) {
    if (&each != &signatures.front()) text += ',';
    text += "{\"sig\":\"" + base64(each.signature) + "\",\"keyid\":" + json_quoted(each.key_id) + "}";
  }
  return text + "]}";
}

}  // namespace anya::integrity
