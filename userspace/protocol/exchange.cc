#include "protocol/exchange.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/result.h"

namespace infertrail {
namespace {

void append(std::vector<std::string>* to, std::vector<std::string> from) {
  to->insert(to->end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

}  // namespace

Stitcher::Open& Stitcher::begin_exchange(bool front) {
  Open& open = front ? open_.emplace_front(limits_) : open_.emplace_back(limits_);
  open.exchange.number = ++count_;
  return open;
}

// The message in progress of that direction, or null between messages.
Stitcher::Open* Stitcher::current(Direction direction) {
  if (direction == Direction::kToServer)
    return open_.empty() || open_.back().request_done ? nullptr : &open_.back();
  for (Open& open : open_)
    if (!open.response_done) return open.exchange.has_response ? &open : nullptr;
  return nullptr;
}

Stitcher::Open* Stitcher::unanswered() {
  for (Open& open : open_)
    if (!open.response_done && !open.exchange.has_response) return &open;
  return nullptr;
}

AnswerTo Stitcher::answer_to(uint64_t time_ns) {
  Open* open = unanswered();
  next_answer_alone_ = false;
  // An answer that is older than the request cannot be its answer: it belongs to one of which this
  // connection's record knows nothing (capture began between the two).
  if (open != nullptr && time_ns >= open->exchange.request_first_ns)
    return {AnswerTo::State::kKnown, open->exchange.method, open == &open_.back()};
  if (open == nullptr && !side(Direction::kToServer).lost && !no_more_requests_ && !requests_unseen_)
    return {AnswerTo::State::kWait, {}, false};
  next_answer_alone_ = true;
  return {AnswerTo::State::kUnseen, {}, false};
}

void Stitcher::seen(const Chunk& chunk, Open& open) {
  Exchange& exchange = open.exchange;
  auto& begun = open.begun[static_cast<size_t>(chunk.direction)];
  if (!begun) begun = chunk.offset;
  bool request = chunk.direction == Direction::kToServer;
  uint64_t& first = request ? exchange.request_first_ns : exchange.response_first_ns;
  uint64_t& last = request ? exchange.request_last_ns : exchange.response_last_ns;
  if (first == 0) first = chunk.time_ns;
  last = std::max(last, chunk.time_ns);
  side(chunk.direction).position = chunk.offset + chunk.bytes.size();
}

void Stitcher::take_pending(Direction direction, Open& open) {
  Side& from = side(direction);
  open.exchange.gaps.insert(open.exchange.gaps.end(), from.pending.begin(), from.pending.end());
  from.pending.clear();
  from.unreported = false;
  for (std::string& note : std::exchange(from.pending_notes, {})) {
    auto& notes = open.exchange.notes;  // both directions may say the same
    if (std::find(notes.begin(), notes.end(), note) == notes.end())
      notes.push_back(std::move(note));
  }
}

void Stitcher::head(Direction direction, Head head, const Chunk& first) {
  if (direction == Direction::kToServer)
    begin_request(std::move(head), first);
  else
    begin_response(std::move(head), first);
}

void Stitcher::begin(bool alone) {
  end_undecoded();
  requests_unseen_ = alone;
}

void Stitcher::begin_request(Head head, const Chunk& first) {
  requests_unseen_ = false;
  Open& open = begin_exchange(false);
  Exchange& exchange = open.exchange;
  exchange.has_request = true;
  exchange.method = std::move(head.method);
  exchange.target = std::move(head.target);
  exchange.version = std::move(head.version);
  exchange.request_headers = std::move(head.headers);
  append(&exchange.notes, std::move(head.notes));
  seen(first, open);
  take_pending(Direction::kToServer, open);
}

void Stitcher::begin_response(Head head, const Chunk& first) {
  Open* open = next_answer_alone_ ? nullptr : unanswered();
  if (open == nullptr) {
    open = &begin_exchange(true);
    open->request_done = true;
    open->exchange.version = std::move(head.version);
    open->exchange.notes.push_back("the request of this answer was not seen");
  }
  next_answer_alone_ = false;
  Exchange& exchange = open->exchange;
  exchange.has_response = true;
  exchange.status = head.status;
  exchange.reason = std::move(head.reason);
  exchange.response_headers = std::move(head.headers);
  append(&exchange.notes, std::move(head.notes));
  seen(first, *open);
  take_pending(Direction::kToClient, *open);
}

void Stitcher::interim(const Head& head) {
  std::string note = "interim answer " + std::to_string(head.status);
  Open* open = next_answer_alone_ ? nullptr : unanswered();
  if (open != nullptr)
    open->exchange.notes.push_back(std::move(note));
  else
    side(Direction::kToClient).pending_notes.push_back(std::move(note));
}

void Stitcher::body(const Chunk& chunk) {
  Open* open = current(chunk.direction);
  IT_CHECK(open != nullptr);
  seen(chunk, *open);
  (chunk.direction == Direction::kToServer ? open->request : open->response).add(chunk);
}

void Stitcher::trailers(Direction direction, std::vector<HeaderField> fields) {
  Open* open = current(direction);
  IT_CHECK(open != nullptr);
  Exchange& exchange = open->exchange;
  auto& to =
      direction == Direction::kToServer ? exchange.request_headers : exchange.response_headers;
  to.insert(to.end(), std::make_move_iterator(fields.begin()),
            std::make_move_iterator(fields.end()));
}

void Stitcher::end(Direction direction, uint64_t time_ns) {
  Open* open = current(direction);
  IT_CHECK(open != nullptr);
  bool request = direction == Direction::kToServer;
  (request ? open->request_done : open->response_done) = true;
  uint64_t& last = request ? open->exchange.request_last_ns : open->exchange.response_last_ns;
  last = std::max(last, time_ns);
  settle();
}

void Stitcher::hole(const StreamGap& gap) {
  Side& from = side(gap.direction);
  if (gap.to != UINT64_MAX) from.position = gap.to;
  if (from.lost) {
    Open& part = undecoded_part(gap.direction);
    part.exchange.gaps.push_back({gap, ""});
    auto& begun = part.begun[static_cast<size_t>(gap.direction)];
    if (!begun) begun = gap.from;
  } else if (Open* open = current(gap.direction)) {
    open->exchange.gaps.push_back({gap, ""});
    (gap.direction == Direction::kToServer ? open->request : open->response).hole();
  } else {
    from.pending.push_back({gap, "before the first message seen"});
    from.unreported = true;
  }
}

void Stitcher::lost(Direction direction, const StreamGap* gap, std::string note) {
  Side& from = side(direction);
  if (std::exchange(from.lost, true)) return;
  if (gap != nullptr) {
    from.gap = ExchangeGap{*gap, note};
    from.pending.push_back(*from.gap);
    from.unreported = true;
    if (gap->to != UINT64_MAX) from.position = gap->to;
  } else if (!note.empty()) {
    from.pending_notes.push_back(note);
  }
  from.note = std::move(note);
  Open* open = current(direction);
  if (open != nullptr) {
    open->broken = true;
    if (from.gap)
      open->exchange.gaps.push_back(*from.gap);
    else
      open->exchange.notes.push_back(from.note);
    from.unreported = false;
    (direction == Direction::kToServer ? open->request_done : open->response_done) = true;
    if (gap != nullptr) (direction == Direction::kToServer ? open->request : open->response).hole();
  }
  settle();
}

// Moves out, in order, the exchanges that nothing can be added to any more.
void Stitcher::settle() {
  bool no_answers = side(Direction::kToClient).lost;
  while (!open_.empty()) {
    Open& open = open_.front();
    bool answered = open.response_done || (no_answers && !open.exchange.has_response);
    if (!open.request_done || !answered) return;
    Open done = std::move(open);
    open_.pop_front();
    complete(std::move(done));
  }
}

std::vector<Exchange> Stitcher::take() {
  finished_bytes_ = 0;
  return std::exchange(finished_, {});
}

std::optional<ResumePoint> Stitcher::resume_point(
    std::array<std::optional<uint64_t>, 2> boundaries, bool undecoded) const {
  for (const Side& from : sides_)
    if (!from.pending.empty() || !from.pending_notes.empty()) return std::nullopt;
  if (sides_[0].lost && sides_[1].lost && open_.empty()) undecoded = true;
  ResumePoint point;
  point.count = count_ - static_cast<uint32_t>(open_.size()) - (undecoded_ ? 1 : 0);
  if (undecoded) {
    if (!open_.empty()) return std::nullopt;
    for (size_t i = 0; i < 2; i++)
      point.from[i] = undecoded_ && undecoded_->begun[i] ? *undecoded_->begun[i] : sides_[i].position;
    return point;
  }
  if (undecoded_) return std::nullopt;
  for (size_t i = 0; i < 2; i++) {
    if (sides_[i].lost || !boundaries[i]) return std::nullopt;
    point.from[i] = *boundaries[i];
    for (const Open& open : open_)
      if (open.begun[i]) point.from[i] = std::min(point.from[i], *open.begun[i]);
  }
  // Those that are open must be the newest: their numbers are given again.
  for (const Open& open : open_)
    if (open.exchange.number <= point.count) return std::nullopt;
  return point;
}

void Stitcher::resume(const ResumePoint& point) {
  count_ = point.count;
  for (size_t i = 0; i < 2; i++) sides_[i].position = point.from[i];
}

size_t Stitcher::memory_bytes() const {
  size_t total = finished_bytes_;
  auto add = [&](const Open& open) {
    total += sizeof(Open) + open.request.memory_bytes() + open.response.memory_bytes();
  };
  for (const Open& open : open_) add(open);
  if (undecoded_) add(*undecoded_);
  return total;
}

}  // namespace infertrail
