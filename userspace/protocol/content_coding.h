// Content-Encoding undone: gzip, deflate (zlib or raw), br, zstd, and lists of them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace infertrail {

struct Decoded {
  std::string bytes;     // as far as it went; empty when nothing had to be or could be decoded
  bool decoded = false;  // `bytes` replaces the raw bytes
  bool damaged = false;  // the coding ended early or is corrupt: `bytes` is a prefix
  bool limited = false;  // more than `limit` bytes would come out: `bytes` is a prefix
  std::string note;      // what went wrong, for a person; empty when all is well
};

// `encoding` is the header's value ("gzip", "gzip, br"; "" and "identity" decode nothing). Never
// gives out more than `limit` bytes, so that a decompression bomb is noted and not built.
Decoded decode_content(std::string_view encoding, std::string_view raw, size_t limit);

}  // namespace infertrail
