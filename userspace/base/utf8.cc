#include "base/utf8.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace infertrail {

size_t utf8_character(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  uint8_t lead = byte(at);
  if (lead < 0x80) return 1;
  size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() - at < length) return 0;
  for (size_t i = 1; i < length; i++)
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
  uint8_t second = byte(at + 1);
  if (lead == 0xe0 && second < 0xa0) return 0;
  if (lead == 0xed && second > 0x9f) return 0;
  if (lead == 0xf0 && second < 0x90) return 0;
  if (lead == 0xf4 && second > 0x8f) return 0;
  return length;
}

// Eight bytes at a time: nearly all traffic is ASCII, and every body is looked at more than once.
size_t skip_ascii(std::string_view text, size_t at) {
  for (uint64_t word; at + sizeof(word) <= text.size(); at += sizeof(word)) {
    std::memcpy(&word, text.data() + at, sizeof(word));
    if (word & 0x8080808080808080u) break;
  }
  while (at < text.size() && static_cast<uint8_t>(text[at]) < 0x80) at++;
  return at;
}

size_t utf8_valid_prefix(std::string_view text) {
  size_t at = skip_ascii(text, 0);
  while (at < text.size()) {
    size_t length = utf8_character(text, at);
    if (length == 0) break;
    at = skip_ascii(text, at + length);
  }
  return at;
}

bool is_utf8(std::string_view text) { return utf8_valid_prefix(text) == text.size(); }

std::string to_utf8(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    size_t length = utf8_character(text, at);
    if (length == 0) {
      uint8_t byte = static_cast<uint8_t>(text[at]);
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
      at++;
    } else {
      out.append(text, at, length);
      at += length;
    }
  }
  return out;
}

}  // namespace infertrail
