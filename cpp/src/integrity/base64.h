// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

namespace anya::integrity {

// RFC 4648, standard alphabet, padded. Pure; thread-safe.
std::string base64(std::string_view bytes);

// The one text that `base64` would have written, or Malformed: no blanks, no other alphabet, no missing padding, no
// bits that mean nothing. What can be written in two ways can hide a second message.
std::string from_base64(std::string_view text);

}  // namespace anya::integrity
