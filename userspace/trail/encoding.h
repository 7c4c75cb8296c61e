// Numbers and text as the log's formats want them. Decoders take the canonical form only: one value
// has one text, so that no edit of a signed file can go unseen. Thread: pure functions.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace infertrail::trail {

// Decimal without sign and leading zeros.
std::optional<uint64_t> canonical_number(std::string_view text);

// 20 digits, so that names sort by number.
std::string twenty_digits(uint64_t number);

// Makes `text` valid UTF-8: each wrong byte becomes U+FFFD. True when something was changed.
bool repair_utf8(std::string& text);

// At most `limit` bytes of `text`, not cut inside a UTF-8 character.
std::string utf8_prefix(std::string_view text, size_t limit);

// Little-endian integers of the segment format.
template <typename T>
void put_le(std::string& out, T value) {
  for (size_t i = 0; i < sizeof(T); i++)
    out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
}
template <typename T>
T get_le(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); i++)
    value |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
  return static_cast<T>(value);
}

}  // namespace infertrail::trail
