// Masks one body by what it is: JSON, server-sent events, lines of JSON, or text and bytes.
// Known limits: compressed bytes are not looked into; a value of which a part was never captured (a
// gap in the middle of a body) is not recognised, nor is one that stands partly in an undecoded
// chunk and partly in the next; numbers that encode text (token ids, "bytes" of log probabilities)
// and base64 are not decoded.
#pragma once

#include <string>
#include <string_view>

#include "mask/batch.h"

namespace infertrail {

// `truncated`: what stands at the end may be the beginning of a value.
void add_body(std::string_view body, std::string_view content_type, bool truncated, Batch* batch);

}  // namespace infertrail
