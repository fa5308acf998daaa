// SPDX-License-Identifier: Apache-2.0
//
// DSSE envelopes: a payload, its type, and signatures over both.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "integrity/json.h"
#include "integrity/keys.h"

namespace anya::integrity {

struct EnvelopeSignature {
  std::string signature;
  std::string key_id;  // as it is claimed; nothing is decided by it
};

struct Envelope {
  std::string payload_type;
  std::string payload;  // decoded; what is verified is what is parsed
  std::vector<EnvelopeSignature> signatures;
};

// What is signed, but for the payload that follows it: "DSSEv1 <length> <type> <length> ". The type is bound, so a
// signature over one kind of document is none over another.
std::string pae_head(std::string_view payload_type, std::size_t payload_size);

// From the JSON of an envelope. Throws Malformed; a payload of another type than `payload_type` is that, too.
Envelope read_envelope(const Json& json, std::string_view payload_type, std::size_t max_signatures);

// Whether one of its signatures is this key's.
bool signed_by(const Envelope& envelope, const PublicKey& key);

std::string sign_payload(const PrivateKey& key, std::string_view payload_type, std::string_view payload);
// Its JSON text.
std::string envelope_text(std::string_view payload_type, std::string_view payload,
                          const std::vector<EnvelopeSignature>& signatures);

}  // namespace anya::integrity
