// The body of one message: a bounded prefix is kept, everything is counted and (if asked) hashed.
#pragma once

#include <openssl/evp.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/owned.h"
#include "stream/chunk.h"

namespace infertrail {

struct MessageBody {
  std::string raw;          // after framing, as sent; at most max_body_bytes of it
  std::string decoded;      // after content decoding; meaningful only with is_decoded
  bool is_decoded = false;  // false: the body has no content coding, or decode_note says why not
  uint64_t bytes = 0;       // framed bytes seen, kept or not
  std::array<uint8_t, 32> sha256{};  // over all framed bytes
  bool has_sha256 = false;      // false: digests are off, or bytes in the middle were never seen
  bool truncated = false;       // text() is a prefix of what was sent
  bool decode_limited = false;  // ... because it is longer than max_body_bytes when decoded
  std::string decode_note;

  std::string_view text() const { return is_decoded ? decoded : raw; }
};

class BodyBuilder {
 public:
  // `digest`: whether to hash. The context is made at the first byte.
  BodyBuilder(size_t max_bytes, bool digest) : max_bytes_(max_bytes), digest_(digest) {}

  void add(const Chunk& chunk);
  // Bytes of the body are missing here: there is no digest then, and decoding stops at this place.
  void hole();
  // Ends the body and undoes the content coding.
  MessageBody finish(std::string_view content_encoding);
  uint64_t bytes() const { return body_.bytes; }
  // What was counted but not kept, as stream offsets.
  std::optional<StreamGap> not_kept() const { return not_kept_; }
  size_t memory_bytes() const { return body_.raw.capacity(); }

 private:
  void hash(std::string_view bytes);

  size_t max_bytes_;
  bool digest_;
  MessageBody body_;
  Owned<EVP_MD_CTX, EVP_MD_CTX_free> context_;
  std::optional<size_t> first_hole_;  // in raw
  std::optional<StreamGap> not_kept_;
};

}  // namespace infertrail
