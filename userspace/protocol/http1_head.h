// HTTP/1 heads and what they say about framing (RFC 9112). Pure functions over hostile text.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "protocol/parser.h"

namespace infertrail {

// `text` is the whole head from the first byte of the start line to the empty line, line ends
// included; lines end by CRLF or LF. Errors name the line, never its content.
Result<Head> parse_http1_head(std::string_view text, bool request);

// The fields of a trailer section, the same rules.
Result<std::vector<HeaderField>> parse_http1_fields(std::string_view text,
                                                    std::vector<std::string>* notes);

enum class Framing : uint8_t { kNone, kLength, kChunked, kUntilClose };
struct BodyFraming {
  Framing framing = Framing::kNone;
  uint64_t length = 0;  // kLength
};

// RFC 9112 6.3. `answer_to_method` is the request's method for answers, empty when unknown. An
// error means that the end of the message cannot be known. Oddities are added to head->notes.
Result<BodyFraming> body_framing(Head* head, bool request, std::string_view answer_to_method);

// The size in "1a;ext=1", or nothing when the line is not a chunk's.
std::optional<uint64_t> parse_chunk_size(std::string_view line);

}  // namespace infertrail
