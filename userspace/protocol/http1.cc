#include "protocol/http1.h"

#include <algorithm>
#include <array>
#include <deque>
#include <string>
#include <utility>

#include "protocol/http1_head.h"

namespace infertrail {
namespace {

constexpr size_t kMaxHead = 256u << 10;
constexpr size_t kMaxWaiting = 1u << 20;
// Empty lines before a message are skipped (RFC 9112 2.2), but not without end.
constexpr unsigned kMaxBlanks = 8;

enum class State : uint8_t {
  kStart, kHead, kLength, kChunkSize, kChunkData, kChunkEnd, kTrailer, kUntilClose, kUndecoded,
};

// Bytes, or a gap, that wait for the other direction.
struct Waiting {
  std::string bytes;
  Chunk chunk;               // place and time
  std::optional<StreamGap> gap;
};

struct Half {
  explicit Half(Direction of) : direction(of) {}
  Direction direction;
  State state = State::kStart;
  std::string text;          // the head, trailer or chunk-size line read so far
  size_t line = 0;           // where its last line begins
  Chunk first;               // place and time of its first byte
  uint64_t left = 0;         // of the body or chunk
  uint64_t position = 0;     // behind the last byte or gap
  unsigned blanks = 0;
  bool seen = false;         // any byte or gap so far
  std::string method;        // of the request that is being answered
  bool newest = false;       // and whether it was the newest
  std::deque<Waiting> waiting;
  size_t waiting_bytes = 0;
};

class Http1 : public Parser {
 public:
  void feed(const Chunk& chunk, MessageSink& out) override;
  void gap(const StreamGap& gap, MessageSink& out) override;
  void finish(bool reset, uint64_t time_ns, MessageSink& out) override;
  size_t memory_bytes() const override;

 private:
  Half& half(Direction direction) { return halves_[static_cast<size_t>(direction)]; }
  void wait(Half& half, Waiting item, MessageSink& out);
  bool must_wait(Half& half, uint64_t time_ns, MessageSink& out);
  void resume(MessageSink& out);
  size_t run(Half& half, Chunk chunk, MessageSink& out);
  size_t step(Half& half, const Chunk& chunk, MessageSink& out);
  size_t start(Half& half, const Chunk& chunk, MessageSink& out);
  size_t line_step(Half& half, const Chunk& chunk, MessageSink& out);
  void line_done(Half& half, uint64_t time_ns, MessageSink& out);
  size_t body_step(Half& half, const Chunk& chunk, MessageSink& out);
  size_t chunk_end(Half& half, const Chunk& chunk, MessageSink& out);
  void head_done(Half& half, uint64_t time_ns, MessageSink& out);
  bool must_wait_for_request(Half& half, uint64_t time_ns, MessageSink& out);
  void chunk_size_done(Half& half, MessageSink& out);
  void trailer_done(Half& half, uint64_t time_ns, MessageSink& out);
  void run_gap(Half& half, const StreamGap& gap, MessageSink& out);
  void message_end(Half& half, uint64_t time_ns, MessageSink& out);
  void end_half(Half& half, bool reset, uint64_t time_ns, MessageSink& out);
  void lose(Half& half, const StreamGap* gap, const std::string& note, bool give_back, MessageSink& out);

  std::array<Half, 2> halves_{Half(Direction::kToServer), Half(Direction::kToClient)};
  bool awaiting_ = false;    // the newest request may change the protocol; what follows must wait
  bool upgraded_ = false;    // it did
  bool finishing_ = false;
};

bool may_upgrade(const Head& head) {
  return head.method == "CONNECT" || find_header(head.headers, "upgrade") != nullptr;
}

bool changes_protocol(const Head& answer, const std::string& method) {
  return answer.status == 101 || (method == "CONNECT" && answer.status / 100 == 2);
}

void begin_text(Half& half, State state) {
  half.state = state;
  half.text.clear();
  half.line = 0;
}

// --- waiting for the other direction -----------------------------------------------------------

void Http1::wait(Half& half, Waiting item, MessageSink& out) {
  half.waiting_bytes += item.bytes.size();
  half.waiting.push_back(std::move(item));
  if (half.waiting_bytes <= kMaxWaiting) return;
  lose(half, nullptr, "more than 1 MiB waited for the other direction", true, out);
}

// Whether a message that begins now must wait.
bool Http1::must_wait(Half& half, uint64_t time_ns, MessageSink& out) {
  if (half.state != State::kStart) return false;
  if (half.direction == Direction::kToServer)
    return awaiting_ && !finishing_ && this->half(Direction::kToClient).state != State::kUndecoded;
  return must_wait_for_request(half, time_ns, out);
}

// Decides what an answer answers.
bool Http1::must_wait_for_request(Half& half, uint64_t time_ns, MessageSink& out) {
  AnswerTo answer = out.answer_to(time_ns);
  half.method = answer.state == AnswerTo::State::kKnown ? answer.method : std::string_view();
  half.newest = answer.newest;
  return answer.state == AnswerTo::State::kWait;
}

// Goes on with whatever the other direction's progress lets go.
void Http1::resume(MessageSink& out) {
  for (bool moved = true; moved;) {
    moved = false;
    for (Half& half : halves_) {
      while (!half.waiting.empty() && !must_wait(half, half.waiting.front().chunk.time_ns, out)) {
        Waiting item = std::move(half.waiting.front());
        half.waiting.pop_front();
        half.waiting_bytes -= item.bytes.size();
        moved = true;
        if (item.gap) {
          run_gap(half, *item.gap, out);
          continue;
        }
        item.chunk.bytes = item.bytes;
        size_t done = run(half, item.chunk, out);
        if (done == item.bytes.size()) continue;
        item.bytes.erase(0, done);
        item.chunk.offset += done;
        half.waiting_bytes += item.bytes.size();
        half.waiting.push_front(std::move(item));
      }
    }
  }
}

void Http1::feed(const Chunk& chunk, MessageSink& out) {
  Half& to = half(chunk.direction);
  size_t done = to.waiting.empty() ? run(to, chunk, out) : 0;
  if (done < chunk.bytes.size()) {
    Waiting item{std::string(chunk.bytes.substr(done)), chunk, std::nullopt};
    item.chunk.offset += done;
    wait(to, std::move(item), out);
  }
  resume(out);
}

// --- one direction -----------------------------------------------------------------------------

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
    case State::kStart: return start(half, chunk, out);
    case State::kHead:
    case State::kChunkSize:
    case State::kTrailer: return line_step(half, chunk, out);
    case State::kLength:
    case State::kChunkData:
    case State::kUntilClose: return body_step(half, chunk, out);
    case State::kChunkEnd: return chunk_end(half, chunk, out);
    case State::kUndecoded: break;
  }
  out.undecoded(chunk);
  return chunk.bytes.size();
}

size_t Http1::start(Half& half, const Chunk& chunk, MessageSink& out) {
  if (must_wait(half, chunk.time_ns, out)) return 0;
  if (half.direction == Direction::kToServer && (awaiting_ || upgraded_)) {
    lose(half, nullptr, upgraded_ ? "the protocol was changed" : "a change of protocol was not answered",
         false, out);
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
    case Framing::kNone: return message_end(half, time_ns, out);
    case Framing::kLength: half.state = State::kLength; return;
    case Framing::kChunked: half.state = State::kChunkSize; return;
    case Framing::kUntilClose: half.state = State::kUntilClose; return;
  }
}

size_t Http1::body_step(Half& half, const Chunk& chunk, MessageSink& out) {
  Chunk piece = chunk;
  if (half.state != State::kUntilClose)
    piece.bytes = chunk.bytes.substr(0, static_cast<size_t>(std::min<uint64_t>(half.left, chunk.bytes.size())));
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
  out.end(half.direction, time_ns);
}

// --- holes and ends ----------------------------------------------------------------------------

// The direction has no messages any more. `give_back`: half-read text becomes undecoded bytes.
void Http1::lose(Half& half, const StreamGap* gap, const std::string& note, bool give_back,
                 MessageSink& out) {
  std::string text = give_back ? std::move(half.text) : std::string();
  begin_text(half, State::kUndecoded);
  out.lost(half.direction, gap, note);
  Chunk rest = half.first;
  rest.direction = half.direction;
  rest.bytes = text;
  if (!text.empty()) out.undecoded(rest);
}

void Http1::gap(const StreamGap& gap, MessageSink& out) {
  Half& to = half(gap.direction);
  bool waits = to.direction == Direction::kToServer && must_wait(to, gap.time_ns, out);
  if (!to.waiting.empty() || waits)
    wait(to, Waiting{{}, {gap.direction, gap.from, gap.time_ns, {}}, gap}, out);
  else
    run_gap(to, gap, out);
  resume(out);
}

void Http1::run_gap(Half& half, const StreamGap& gap, MessageSink& out) {
  bool first = !std::exchange(half.seen, true);
  uint64_t length = gap.to - gap.from;
  if (gap.to != UINT64_MAX) half.position = gap.to;
  bool sized = half.state == State::kLength || half.state == State::kChunkData;
  bool known = half.state == State::kUntilClose || half.state == State::kUndecoded ||
               (sized && gap.to != UINT64_MAX && length <= half.left) ||
               (first && gap.reason == GapReason::kPreAttach);
  if (!known) {
    bool give_back = half.state == State::kHead || half.state == State::kTrailer;
    // What was read of a head lies before the hole; it is given back together with the gap.
    return lose(half, &gap, "", give_back, out);
  }
  out.hole(gap);
  if (!sized) return;
  half.left -= length;
  if (half.left > 0) return;
  if (half.state == State::kLength)
    message_end(half, gap.time_ns, out);
  else
    begin_text(half, State::kChunkEnd);
}

void Http1::finish(bool reset, uint64_t time_ns, MessageSink& out) {
  finishing_ = true;
  resume(out);
  for (Half& half : halves_) end_half(half, reset, time_ns, out);
}

void Http1::end_half(Half& half, bool reset, uint64_t time_ns, MessageSink& out) {
  if (half.state == State::kStart || half.state == State::kUndecoded) return;
  if (half.state == State::kUntilClose && !reset) return message_end(half, time_ns, out);
  uint64_t to = half.state == State::kLength ? half.position + half.left : UINT64_MAX;
  StreamGap gap{half.direction, half.position, to, GapReason::kConnectionReset, time_ns};
  bool give_back = half.state == State::kHead || half.state == State::kTrailer;
  lose(half, &gap, "", give_back, out);
}

size_t Http1::memory_bytes() const {
  size_t total = sizeof *this;
  for (const Half& half : halves_)
    total += half.text.capacity() + half.waiting_bytes + half.waiting.size() * sizeof(Waiting);
  return total;
}

}  // namespace

Looks looks_like_http1(std::string_view first) {
  while (!first.empty() && (first.front() == '\r' || first.front() == '\n')) first.remove_prefix(1);
  size_t at = 0;
  while (at < first.size() && first[at] >= 'A' && first[at] <= 'Z') at++;
  if (at > 24) return Looks::kNo;
  if (at == first.size()) return Looks::kMaybe;
  if (at < 3 || first[at] != ' ') return Looks::kNo;
  if (at + 1 == first.size()) return Looks::kMaybe;
  if (first.substr(0, at) == "PRI") return Looks::kNo;   // HTTP/2's preface
  char c = first[at + 1];
  bool target = c == '/' || c == '*' || c == '[' || (c >= '0' && c <= '9') ||
                (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  return target ? Looks::kYes : Looks::kNo;
}

Looks looks_like_http1_answer(std::string_view first) {
  static constexpr std::string_view kStart = "HTTP/1.";
  while (!first.empty() && (first.front() == '\r' || first.front() == '\n')) first.remove_prefix(1);
  if (first.size() >= kStart.size())
    return first.substr(0, kStart.size()) == kStart ? Looks::kYes : Looks::kNo;
  return kStart.substr(0, first.size()) == first ? Looks::kMaybe : Looks::kNo;
}

std::unique_ptr<Parser> make_http1() { return std::make_unique<Http1>(); }

}  // namespace infertrail
