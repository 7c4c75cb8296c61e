#include "protocol/http1.h"

#include <algorithm>
#include <string>
#include <utility>

#include "protocol/http1_parser.h"

namespace infertrail {
namespace http1 {

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

void Http1::finish(std::optional<GapReason> cut, uint64_t time_ns, MessageSink& out) {
  finishing_ = true;
  resume(out);
  for (Half& half : halves_) end_half(half, cut, time_ns, out);
}

void Http1::end_half(Half& half, std::optional<GapReason> cut, uint64_t time_ns, MessageSink& out) {
  if (half.state == State::kStart || half.state == State::kUndecoded) return;
  if (half.state == State::kUntilClose && !cut) return message_end(half, time_ns, out);
  uint64_t to = half.state == State::kLength ? half.position + half.left : UINT64_MAX;
  StreamGap gap{half.direction, half.position, to, cut.value_or(GapReason::kConnectionReset),
                time_ns};
  bool give_back = half.state == State::kHead || half.state == State::kTrailer;
  lose(half, &gap, "", give_back, out);
}

std::optional<uint64_t> Http1::boundary(Direction direction) const {
  const Half& half = halves_[static_cast<size_t>(direction)];
  if (half.state == State::kUndecoded || awaiting_ || upgraded_) return std::nullopt;
  return half.begun.value_or(half.position);
}

size_t Http1::memory_bytes() const {
  size_t total = sizeof *this;
  for (const Half& half : halves_)
    total += half.text.capacity() + half.waiting_bytes + half.waiting.size() * sizeof(Waiting);
  return total;
}

}  // namespace http1

Looks looks_like_http1(std::string_view first) {
  while (!first.empty() && (first.front() == '\r' || first.front() == '\n')) first.remove_prefix(1);
  size_t at = 0;
  while (at < first.size() && first[at] >= 'A' && first[at] <= 'Z') at++;
  if (at > 24) return Looks::kNo;
  if (at == first.size()) return Looks::kMaybe;
  if (at < 3 || first[at] != ' ') return Looks::kNo;
  if (at + 1 == first.size()) return Looks::kMaybe;
  if (first.substr(0, at) == "PRI") return Looks::kNo;  // HTTP/2's preface
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

Looks begins_http1(std::string_view first) {
  if (first.empty() || first.front() < 'A' || first.front() > 'Z') return Looks::kNo;
  if (looks_like_http1(first) == Looks::kNo) return Looks::kNo;
  const size_t end = first.find('\n');
  if (end == std::string_view::npos) return Looks::kMaybe;
  std::string_view line = first.substr(0, end);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line.ends_with(" HTTP/1.1") || line.ends_with(" HTTP/1.0") ? Looks::kYes : Looks::kNo;
}

Looks begins_http1_answer(std::string_view first) {
  static constexpr std::string_view kForm = "HTTP/1.D NDD ";   // RFC 9112 4; D any digit, N from 2
  for (size_t i = 0; i < std::min(first.size(), kForm.size()); i++) {
    const bool digit = first[i] >= (kForm[i] == 'N' ? '2' : '0') && first[i] <= '9';
    if (kForm[i] == 'D' || kForm[i] == 'N' ? !digit : first[i] != kForm[i]) return Looks::kNo;
  }
  return first.size() < kForm.size() ? Looks::kMaybe : Looks::kYes;
}

std::unique_ptr<Parser> make_http1() {
  return std::make_unique<http1::Http1>();
}

}  // namespace infertrail
