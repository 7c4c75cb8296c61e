// HTTP/1.0 and HTTP/1.1 (RFC 9112), incremental: any chunking gives the same messages, one byte at
// a time costs one state step per byte.
//
// Limits: a head, a trailer section or a chunk-size line is at most 256 KiB; bytes that wait for
// the other direction (an answer before its request, bytes behind an Upgrade) at most 1 MiB.
// What is not HTTP/1 ends the messages of its direction; its bytes are given back undecoded. The
// other direction is still read: garbage behind a request must not hide the answer.
// A hole is stepped over only where the length of what it hides is known: in a body of known
// length, in a chunk, in a body that ends with the connection. Any other hole ends the messages of
// its direction, because a line that looks like the start of a message proves nothing.
#pragma once

#include <memory>
#include <string_view>

#include "protocol/parser.h"

namespace infertrail {

Looks looks_like_http1(std::string_view first);
Looks looks_like_http1_answer(std::string_view first);
Looks begins_http1(std::string_view first);          // a whole request line
Looks begins_http1_answer(std::string_view first);   // a final status
std::unique_ptr<Parser> make_http1();

}  // namespace infertrail
