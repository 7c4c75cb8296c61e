// Bytes and text: encodings, ASCII case and trimming, names that look alike. Pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace infertrail {

std::string hex(std::string_view bytes);                     // lower case
std::optional<std::string> from_hex(std::string_view text);  // either case, even length

std::string base64_encode(std::string_view bytes);  // RFC 4648, with padding
// Strict: standard alphabet, right padding, unused bits zero, nothing else in between.
std::optional<std::string> base64_decode(std::string_view text);

inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
inline bool is_alpha(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
inline bool is_alnum(char c) {
  return is_digit(c) || is_alpha(c);
}
inline bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
int hex_digit(char c);  // its value, or -1

std::string to_lower(std::string_view text);   // ASCII only
std::string_view trim(std::string_view text);  // ASCII white space, both ends
bool equals_ignore_case(std::string_view a, std::string_view b);
bool starts_with_ignore_case(std::string_view text, std::string_view prefix);
bool contains_ignore_case(std::string_view text, std::string_view part);

// Exact in the largest unit that fits: "64MiB", "1536KiB", "1000" — what the YAML reader reads.
std::string format_bytes(uint64_t bytes);

// The candidate nearest to `name` by edit distance, when within half its length (2 at least);
// "" when none is. The first of equals.
std::string nearest(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace infertrail
