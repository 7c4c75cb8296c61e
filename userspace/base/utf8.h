// UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.
// Protobuf string fields must be UTF-8 or the record cannot be read back.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace infertrail {

bool is_utf8(std::string_view text);

// Length of the valid character at `at` (which is inside the text), or 0 when there is none.
size_t utf8_character(std::string_view text, size_t at);
// How many bytes are valid from the beginning: the text's size when all are.
size_t utf8_valid_prefix(std::string_view text);

// Position of the first byte at or behind `at` that is not ASCII; the text's end when there is none.
size_t skip_ascii(std::string_view text, size_t at);

// The text itself when it is UTF-8; otherwise each byte that is not part of a valid character is
// written as the four characters \xNN, so that nothing is lost and nothing else changes.
std::string to_utf8(std::string_view text);

}  // namespace infertrail
