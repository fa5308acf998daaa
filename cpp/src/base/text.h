// SPDX-License-Identifier: Apache-2.0
//
// Text that comes from a file somebody else wrote: is it UTF-8, and how to show it in a message. Thread-safe.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace anya {

// Strict: no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text) noexcept;

// 'text' in quotes; of more than `max_bytes` its beginning and its end, where a path says the most. What is not
// printable ASCII is shown as \xNN, so that a name in a message can neither forge a log line nor break a decoder.
std::string quoted(std::string_view text, std::size_t max_bytes = 120);

// What the system calls an errno.
std::string errno_text(int error);

}  // namespace anya
