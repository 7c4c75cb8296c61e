// How exchanges end: complete, with what is missing named, or as undecoded parts.
#include <algorithm>
#include <utility>

#include "base/result.h"
#include "protocol/exchange.h"

namespace infertrail {
namespace {

constexpr size_t kUndecodedPart = 1u << 20;

std::string content_encoding(const std::vector<HeaderField>& headers) {
  std::string all;  // several fields of one name are one list
  for (const HeaderField& field : headers) {
    if (!same_name(field.name, "content-encoding")) continue;
    if (!all.empty()) all += ", ";
    all += field.value;
  }
  return all;
}

}  // namespace

// An exchange with only one of its two messages says why the other is missing.
void Stitcher::name_missing(Open& open) {
  Exchange& exchange = open.exchange;
  for (Direction direction : {Direction::kToServer, Direction::kToClient}) {
    bool has = direction == Direction::kToServer ? exchange.has_request : exchange.has_response;
    Side& from = side(direction);
    if (has || !from.lost) continue;
    if (from.gap) {
      exchange.gaps.push_back(*from.gap);
      from.unreported = false;
    } else {
      exchange.notes.push_back(from.note);
    }
  }
}

MessageBody Stitcher::end_body(BodyBuilder& builder, Direction direction, Exchange& exchange) {
  bool request = direction == Direction::kToServer;
  MessageBody body = builder.finish(
      content_encoding(request ? exchange.request_headers : exchange.response_headers));
  if (auto gap = builder.not_kept()) exchange.gaps.push_back({*gap, "counted, not kept"});
  if (body.decode_limited) {
    uint64_t end = side(direction).position;
    exchange.gaps.push_back(
        {{direction, end, end, GapReason::kBodyLimit, 0}, "longer than the limit when decoded"});
  }
  if (!body.decode_note.empty())
    exchange.notes.push_back((request ? "request body: " : "answer body: ") + body.decode_note);
  return body;
}

void Stitcher::complete(Open open) {
  Exchange& exchange = open.exchange;
  if (!exchange.undecoded) name_missing(open);
  exchange.request = end_body(open.request, Direction::kToServer, exchange);
  exchange.response = end_body(open.response, Direction::kToClient, exchange);
  bool both = exchange.undecoded || (exchange.has_request && exchange.has_response &&
                                     open.request_done && open.response_done);
  exchange.complete = both && !open.broken && exchange.gaps.empty() &&
                      !exchange.request.truncated && !exchange.response.truncated;
  finished_bytes_ += exchange.request.raw.capacity() + exchange.request.decoded.capacity() +
                     exchange.response.raw.capacity() + exchange.response.decoded.capacity();
  finished_.push_back(std::move(exchange));
}

Stitcher::Open& Stitcher::undecoded_part(Direction direction) {
  if (!undecoded_) {
    undecoded_.emplace(limits_);
    undecoded_->exchange.number = ++count_;
    undecoded_->exchange.undecoded = true;
  }
  take_pending(direction, *undecoded_);
  return *undecoded_;
}

// One record per part: nothing grows without bound, nothing is left out.
void Stitcher::undecoded(const Chunk& chunk) {
  size_t part_bytes = limits_.max_body_bytes == 0
                          ? kUndecodedPart
                          : std::min(kUndecodedPart, limits_.max_body_bytes);
  Chunk rest = chunk;
  while (!rest.bytes.empty()) {
    Open& open = undecoded_part(chunk.direction);
    size_t room =
        part_bytes - std::min<size_t>(part_bytes, open.request.bytes() + open.response.bytes());
    Chunk piece = rest;
    piece.bytes = rest.bytes.substr(0, room);
    seen(piece, open);
    (chunk.direction == Direction::kToServer ? open.request : open.response).add(piece);
    rest.bytes.remove_prefix(piece.bytes.size());
    rest.offset += piece.bytes.size();
    if (piece.bytes.size() == room) end_undecoded();
  }
}

void Stitcher::end_undecoded() {
  if (!undecoded_) return;
  Open open = std::move(*undecoded_);
  undecoded_.reset();
  complete(std::move(open));
}

void Stitcher::finish(GapReason reason, uint64_t time_ns) {
  no_more_requests_ = true;
  for (Direction direction : {Direction::kToServer, Direction::kToClient}) {
    Side& from = side(direction);
    bool missing = direction == Direction::kToClient ? unanswered() != nullptr : false;
    if (current(direction) == nullptr && !missing) continue;
    StreamGap gap{direction, from.position, UINT64_MAX, reason, time_ns};
    lost(direction, &gap, "");
  }
  for (Direction direction : {Direction::kToServer, Direction::kToClient})
    if (side(direction).unreported) undecoded_part(direction);
  end_undecoded();
  IT_CHECK(open_.empty());
}

}  // namespace infertrail
