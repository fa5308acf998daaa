// SPDX-License-Identifier: Apache-2.0
#include "rules/text_rule.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace anya::rules {
namespace {

Status wrong(Reason reason, std::size_t index, std::int64_t value, std::int64_t limit = 0) noexcept {
  Status status = Status::failure(ErrorCode::kInvalidInput, reason, value, limit);
  status.index = static_cast<std::int64_t>(index);
  return status;
}

// Characters of valid UTF-8; of anything else, at most its bytes.
std::int64_t length_of(std::string_view text) noexcept {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

// The first control character that is neither tab nor the end of a line, or -1. C1 controls are U+0080 to U+009F,
// written C2 80 to C2 9F.
std::int64_t first_control(std::string_view text) noexcept {
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte < 0x20 && byte != '\t' && byte != '\n' && byte != '\r') || byte == 0x7F) return byte;
    if (byte == 0xC2 && i + 1 < text.size()) {
      const auto next = static_cast<unsigned char>(text[i + 1]);
      if (next >= 0x80 && next < 0xA0) return next;
    }
  }
  return -1;
}

}  // namespace

std::size_t utf8_prefix(std::string_view text) noexcept {
  const auto* const bytes = reinterpret_cast<const unsigned char*>(text.data());
  const std::size_t size = text.size();
  std::size_t at = 0;
  while (at < size) {
    const unsigned char lead = bytes[at];
    if (lead < 0x80) {
      ++at;
      // Most text is plain ASCII: eight bytes at a time.
      for (std::uint64_t eight = 0; size - at >= sizeof eight; at += sizeof eight) {
        std::memcpy(&eight, bytes + at, sizeof eight);
        if ((eight & 0x8080808080808080U) != 0) break;
      }
      continue;
    }
    std::size_t more = 0;
    unsigned char low = 0x80;  // of the second byte, whose range depends on the first
    unsigned char high = 0xBF;
    if (lead >= 0xC2 && lead <= 0xDF) {
      more = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      more = 2;
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      more = 3;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    } else {
      return at;
    }
    if (size - at <= more || bytes[at + 1] < low || bytes[at + 1] > high) return at;
    for (std::size_t i = 2; i <= more; ++i) {
      if ((bytes[at + i] & 0xC0) != 0x80) return at;
    }
    at += more + 1;
  }
  return size;
}

Status TextRule::check(std::span<const std::string_view> strings) const noexcept {
  std::uint64_t total = 0;
  for (const std::string_view text : strings) total += text.size();
  if (total > static_cast<std::uint64_t>(max_bytes)) {
    return Status::failure(ErrorCode::kInputTooLarge, Reason::kTensorTooLarge, static_cast<std::int64_t>(total),
                           max_bytes);
  }
  for (std::size_t i = 0; i < strings.size(); ++i) {
    const std::string_view text = strings[i];
    if (utf8) {
      const std::size_t good = utf8_prefix(text);
      if (good != text.size()) return wrong(Reason::kTextNotUtf8, i, static_cast<std::int64_t>(good));
    }
    if (max_length != INT64_MAX) {
      const std::int64_t length = length_of(text);
      if (length > max_length) return wrong(Reason::kTextTooLong, i, length, max_length);
    }
    if (control == Control::kRejectNul) {
      if (!text.empty() && std::memchr(text.data(), 0, text.size()) != nullptr)
        return wrong(Reason::kTextControl, i, 0);
    } else if (control == Control::kReject) {
      const std::int64_t found = first_control(text);
      if (found >= 0) return wrong(Reason::kTextControl, i, found);
    }
  }
  return {};
}

TextRule make_text_rule(const InputRule& rule) {
  TextRule text;
  text.max_length = rule.max_length;
  text.max_bytes = rule.max_bytes;
  text.utf8 = rule.utf8;
  if (rule.control != "reject" && rule.control != "allow") {
    throw Error(ErrorCode::kConfigError, "control: must be reject or allow", "control");
  }
  text.control = rule.control == "allow" ? TextRule::Control::kAllow : TextRule::Control::kReject;
  static_cast<void>(normalize_of(rule));
  return text;
}

TextLimits::Normalize normalize_of(const InputRule& rule) {
  if (rule.normalize == "allow") return TextLimits::Normalize::kAllow;
  if (rule.normalize == "reject") return TextLimits::Normalize::kReject;
  if (rule.normalize == "nfc") return TextLimits::Normalize::kMake;
  throw Error(ErrorCode::kConfigError, "normalize: must be allow, reject or nfc", "normalize");
}

}  // namespace anya::rules
