#include "trail/encoding.h"

#include <cstdio>

#include "base/utf8.h"

namespace infertrail::trail {
namespace {

// Length of the well-formed UTF-8 character at `at` (Unicode 15 table 3-7), 0 when there is none.
size_t utf8_length(std::string_view text, size_t at) {
  auto byte = [&](size_t i) {
    return at + i < text.size() ? static_cast<uint8_t>(text[at + i]) : 0;
  };
  uint8_t first = byte(0), low = 0x80, high = 0xBF;
  size_t length = first < 0x80   ? 1
                  : first < 0xC2 ? 0
                  : first < 0xE0 ? 2
                  : first < 0xF0 ? 3
                  : first < 0xF5 ? 4
                                 : 0;
  if (first == 0xE0) low = 0xA0;
  if (first == 0xED) high = 0x9F;
  if (first == 0xF0) low = 0x90;
  if (first == 0xF4) high = 0x8F;
  if (length >= 2 && (byte(1) < low || byte(1) > high)) return 0;
  for (size_t i = 2; i < length; i++)
    if (byte(i) < 0x80 || byte(i) > 0xBF) return 0;
  return length;
}

// How much of the text is well-formed from its beginning.
size_t well_formed(std::string_view text) {
  size_t at = skip_ascii(text, 0);
  while (at < text.size()) {
    size_t length = utf8_length(text, at);
    if (length == 0) break;
    at = skip_ascii(text, at + length);
  }
  return at;
}

}  // namespace

std::optional<uint64_t> canonical_number(std::string_view text) {
  uint64_t number = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (text.empty() || (text.size() > 1 && text[0] == '0') || text[0] == '-') return std::nullopt;
  return number;
}

std::string twenty_digits(uint64_t number) {
  char text[24];
  std::snprintf(text, sizeof text, "%020llu", static_cast<unsigned long long>(number));
  return text;
}

bool needs_repair(std::string_view text) { return well_formed(text) != text.size(); }

bool repair_utf8(std::string& text) {
  size_t at = well_formed(text);
  if (at == text.size()) return false;
  std::string repaired = text.substr(0, at);
  while (at < text.size()) {
    size_t length = utf8_length(text, at);
    if (length == 0) {
      repaired += "\xEF\xBF\xBD";
      at++;
    } else {
      repaired.append(text, at, length);
      at += length;
    }
  }
  text = std::move(repaired);
  return true;
}

std::string utf8_prefix(std::string_view text, size_t limit) {
  if (text.size() <= limit) return std::string(text);
  size_t end = limit;
  while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) end--;
  return std::string(text.substr(0, end));
}

}  // namespace infertrail::trail
