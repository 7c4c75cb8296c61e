#include "protocol/body.h"

#include <algorithm>
#include <utility>

#include "base/result.h"
#include "protocol/content_coding.h"

namespace infertrail {

void BodyBuilder::hash(std::string_view bytes) {
  if (!context_) {
    context_.reset(EVP_MD_CTX_new());
    IT_CHECK(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
  }
  IT_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
}

void BodyBuilder::add(const Chunk& chunk) {
  body_.bytes += chunk.bytes.size();
  if (digest_) hash(chunk.bytes);
  size_t kept = std::min(max_bytes_ - body_.raw.size(), chunk.bytes.size());
  body_.raw.append(chunk.bytes.substr(0, kept));
  if (kept == chunk.bytes.size()) return;
  body_.truncated = true;
  uint64_t end = chunk.offset + chunk.bytes.size();
  if (!not_kept_)
    not_kept_ =
        StreamGap{chunk.direction, chunk.offset + kept, end, GapReason::kBodyLimit, chunk.time_ns};
  not_kept_->to = end;
}

void BodyBuilder::hole() {
  digest_ = false;
  if (!first_hole_) first_hole_ = body_.raw.size();
}

MessageBody BodyBuilder::finish(std::string_view content_encoding) {
  if (digest_) {
    hash({});
    unsigned size = 0;
    IT_CHECK(EVP_DigestFinal_ex(context_.get(), body_.sha256.data(), &size) == 1 && size == 32);
    body_.has_sha256 = true;
  }
  // Behind a hole a compressed stream cannot be decoded; before it, it can.
  std::string_view readable =
      std::string_view(body_.raw).substr(0, first_hole_.value_or(body_.raw.size()));
  Decoded decoded = decode_content(content_encoding, readable, max_bytes_);
  body_.is_decoded = decoded.decoded;
  body_.decoded = std::move(decoded.bytes);
  body_.decode_note = std::move(decoded.note);
  body_.decode_limited = decoded.limited;
  body_.truncated |= decoded.damaged || decoded.limited;
  return std::move(body_);
}

}  // namespace infertrail
