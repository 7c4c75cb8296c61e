#include "trail/encoding.h"

#include <cstdio>

#include "base/utf8.h"

namespace infertrail::trail {
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

bool repair_utf8(std::string& text) {
  size_t at = utf8_valid_prefix(text);
  if (at == text.size()) return false;
  std::string repaired = text.substr(0, at);
  while (at < text.size()) {
    size_t length = utf8_character(text, at);
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
