// One direction of HTTP/1: which bytes are head, body, chunk framing or trailer.
#include <algorithm>
#include <utility>

#include "protocol/http1.h"
#include "protocol/http1_head.h"
#include "protocol/http1_parser.h"

namespace infertrail::http1 {
namespace {

bool may_upgrade(const Head& head) {
  return head.method == "CONNECT" || find_header(head.headers, "upgrade") != nullptr;
}

bool changes_protocol(const Head& answer, const std::string& method) {
  return answer.status == 101 || (method == "CONNECT" && answer.status / 100 == 2);
}

}  // namespace

// Returns how many bytes were taken; fewer than all when the rest must wait.
size_t Http1::run(Half& half, Chunk chunk, MessageSink& out) {
  size_t total = 0;
  half.seen = true;
  while (!chunk.bytes.empty()) {
    size_t done = step(half, chunk, out);
    if (done == 0 && must_wait(half, chunk.time_ns, out)) break;
    chunk.bytes.remove_prefix(done);
    chunk.offset += done;
    total += done;
    half.position = chunk.offset;
  }
  return total;
}

// Takes some bytes, or changes the state, or must wait.
size_t Http1::step(Half& half, const Chunk& chunk, MessageSink& out) {
  switch (half.state) {
    case State::kStart:
      return start(half, chunk, out);
    case State::kHead:
    case State::kChunkSize:
    case State::kTrailer:
      return line_step(half, chunk, out);
    case State::kLength:
    case State::kChunkData:
    case State::kUntilClose:
      return body_step(half, chunk, out);
    case State::kChunkEnd:
      return chunk_end(half, chunk, out);
    case State::kUndecoded:
      break;
  }
  out.undecoded(chunk);
  return chunk.bytes.size();
}

size_t Http1::start(Half& half, const Chunk& chunk, MessageSink& out) {
  if (must_wait(half, chunk.time_ns, out)) return 0;
  if (half.direction == Direction::kToServer && (awaiting_ || upgraded_)) {
    lose(half, nullptr,
         upgraded_ ? "the protocol was changed" : "a change of protocol was not answered", false,
         out);
    return 0;
  }
  char c = chunk.bytes.front();
  if ((c == '\r' || c == '\n') && half.blanks < kMaxBlanks) {
    half.blanks++;
    return 1;
  }
  half.blanks = 0;
  begin_text(half, State::kHead);
  half.first = chunk;
  half.first.bytes = {};
  if (!half.begun) half.begun = chunk.offset;
  return 0;
}

// Reads lines of a head, a trailer or a chunk size up to the next line end.
size_t Http1::line_step(Half& half, const Chunk& chunk, MessageSink& out) {
  size_t end = chunk.bytes.find('\n');
  size_t taken = std::min(end == std::string_view::npos ? chunk.bytes.size() : end + 1,
                          kMaxHead + 1 - half.text.size());
  if (half.text.empty()) {
    if (half.state != State::kHead) half.first = chunk;
    half.first.bytes = {};
  }
  bool early = half.text.size() < 32;
  half.text.append(chunk.bytes.substr(0, taken));
  bool request = half.direction == Direction::kToServer;
  Looks looks = Looks::kMaybe;
  if (half.state == State::kHead && early)
    looks = request ? looks_like_http1(half.text) : looks_like_http1_answer(half.text);
  if (looks == Looks::kNo)
    lose(half, nullptr, "bytes that are not HTTP/1", true, out);
  else if (half.text.size() > kMaxHead)
    lose(half, nullptr, "head longer than 256 KiB", true, out);
  else if (half.text.back() == '\n')
    line_done(half, chunk.time_ns, out);
  return taken;
}

void Http1::line_done(Half& half, uint64_t time_ns, MessageSink& out) {
  if (half.state == State::kChunkSize) return chunk_size_done(half, out);
  std::string_view line = std::string_view(half.text).substr(half.line);
  half.line = half.text.size();
  if (line != "\r\n" && line != "\n") return;
  if (half.state == State::kHead)
    head_done(half, time_ns, out);
  else
    trailer_done(half, time_ns, out);
}

void Http1::head_done(Half& half, uint64_t time_ns, MessageSink& out) {
  bool request = half.direction == Direction::kToServer;
  Result<Head> head = parse_http1_head(half.text, request);
  if (!head.ok()) return lose(half, nullptr, head.error().message, true, out);
  // Asked again: a newer request may have come while this head did.
  if (!request) must_wait_for_request(half, half.first.time_ns, out);
  Result<BodyFraming> framing = body_framing(&head.value(), request, half.method);
  if (!framing.ok()) return lose(half, nullptr, framing.error().message, true, out);
  uint32_t status = head.value().status;
  if (!request && status / 100 == 1 && status != 101) {
    out.interim(head.value());
    return begin_text(half, State::kStart);
  }
  bool changes = request ? may_upgrade(head.value()) : changes_protocol(head.value(), half.method);
  out.head(half.direction, std::move(head.value()), half.first);
  begin_text(half, State::kStart);
  if (request && changes) awaiting_ = true;
  if (!request && changes) {
    upgraded_ = true;
    awaiting_ = false;
    message_end(half, time_ns, out);
    return lose(half, nullptr, "the protocol was changed", false, out);
  }
  if (!request && half.newest) awaiting_ = false;
  half.left = framing.value().length;
  switch (framing.value().framing) {
    case Framing::kNone:
      return message_end(half, time_ns, out);
    case Framing::kLength:
      half.state = State::kLength;
      return;
    case Framing::kChunked:
      half.state = State::kChunkSize;
      return;
    case Framing::kUntilClose:
      half.state = State::kUntilClose;
      return;
  }
}

size_t Http1::body_step(Half& half, const Chunk& chunk, MessageSink& out) {
  Chunk piece = chunk;
  if (half.state != State::kUntilClose)
    piece.bytes = chunk.bytes.substr(
        0, static_cast<size_t>(std::min<uint64_t>(half.left, chunk.bytes.size())));
  out.body(piece);
  if (half.state == State::kUntilClose) return piece.bytes.size();
  half.left -= piece.bytes.size();
  if (half.left == 0) {
    if (half.state == State::kLength)
      message_end(half, chunk.time_ns, out);
    else
      begin_text(half, State::kChunkEnd);
  }
  return piece.bytes.size();
}

size_t Http1::chunk_end(Half& half, const Chunk& chunk, MessageSink& out) {
  char c = chunk.bytes.front();
  if (half.text.empty()) half.first = chunk;
  half.text += c;
  if (c == '\n')
    begin_text(half, State::kChunkSize);
  else if (c != '\r' || half.text.size() > 1)
    lose(half, nullptr, "a chunk does not end where it says", true, out);
  return 1;
}

void Http1::chunk_size_done(Half& half, MessageSink& out) {
  std::string_view line = half.text;
  line.remove_suffix(line.size() > 1 && line[line.size() - 2] == '\r' ? 2 : 1);
  auto size = parse_chunk_size(line);
  if (!size) return lose(half, nullptr, "chunk size is not a number", true, out);
  half.left = *size;
  begin_text(half, *size == 0 ? State::kTrailer : State::kChunkData);
}

void Http1::trailer_done(Half& half, uint64_t time_ns, MessageSink& out) {
  std::vector<std::string> notes;
  auto fields = parse_http1_fields(half.text, &notes);
  if (!fields.ok()) return lose(half, nullptr, "trailer: " + fields.error().message, true, out);
  if (!fields.value().empty()) out.trailers(half.direction, std::move(fields.value()));
  message_end(half, time_ns, out);
}

void Http1::message_end(Half& half, uint64_t time_ns, MessageSink& out) {
  begin_text(half, State::kStart);
  half.begun.reset();
  out.end(half.direction, time_ns);
}

}  // namespace infertrail::http1
