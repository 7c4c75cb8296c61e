#include "protocol/conversation.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace infertrail {
namespace {

constexpr size_t kFirstBytes = 64;
constexpr uint64_t kWriteUnderWayNs = 1'000'000'000;   // it has sent all, and returns

}  // namespace

void Conversation::begin_in_the_middle() {
  if (!parser_ && held_.empty()) middle_ = true;
}

// Holds what may begin a message: the first bytes, and the first behind bytes of the other direction.
void Conversation::look_for_beginning(const Chunk& chunk) {
  if (first_answer_) return after_first_answer(chunk);
  if (!held_.empty() && held_.front().chunk.direction != chunk.direction) leave_undecoded();
  const bool turned = !last_ || *last_ != chunk.direction;
  held_.push_back({chunk, std::string(chunk.bytes), std::nullopt});
  held_bytes_ += chunk.bytes.size();
  if (!turned) return leave_undecoded();
  std::string first;
  for (const Held& held : held_) first += held.bytes;
  bool open = false;
  for (const Protocol& row : protocols()) {
    const bool request = chunk.direction == Direction::kToServer;
    const Looks looks = request ? row.begins_request(first) : row.begins_answer(first);
    open |= looks == Looks::kMaybe;
    if (looks != Looks::kYes) continue;
    if (!request && !last_) {
      first_answer_ = &row;
      if (held_bytes_ > kMaxHeld) begin_with_answer();
      return;
    }
    middle_ = false;
    stitcher_.begin(!request);
    return choose(row.name, row.make());
  }
  if (!open || held_bytes_ > kMaxHeld) leave_undecoded();
}

void Conversation::after_first_answer(const Chunk& chunk) {
  if (chunk.direction != Direction::kToServer) {
    held_.push_back({chunk, std::string(chunk.bytes), std::nullopt});
    held_bytes_ += chunk.bytes.size();
    if (held_bytes_ > kMaxHeld) begin_with_answer();
    return;
  }
  const Looks looks = first_answer_->begins_request(chunk.bytes);
  const bool later = chunk.time_ns >= held_.front().chunk.time_ns;
  if (looks == Looks::kNo || (looks == Looks::kMaybe && !later)) {   // the end of a request: its answer is nobody's
    first_answer_ = nullptr;
    leave_undecoded();
    return look_for_beginning(chunk);
  }
  if (later) {
    begin_with_answer();
    return parser_->feed(chunk, stitcher_);
  }
  const Protocol& row = *std::exchange(first_answer_, nullptr);
  held_.push_front({chunk, std::string(chunk.bytes), std::nullopt});
  middle_ = false;
  stitcher_.begin(false);
  choose(row.name, row.make());
}

void Conversation::begin_with_answer() {
  const Protocol& row = *std::exchange(first_answer_, nullptr);
  middle_ = false;
  stitcher_.begin(true);
  choose(row.name, row.make());
}

void Conversation::settle(uint64_t until_ns) {
  if (first_answer_ && until_ns > held_.front().chunk.time_ns + kWriteUnderWayNs) begin_with_answer();
}

void Conversation::leave_undecoded() {
  held_bytes_ = 0;
  for (Held& held : std::exchange(held_, {})) {
    Chunk& chunk = held.chunk;
    chunk.bytes = held.bytes;
    bool& told = beginnings_[static_cast<size_t>(chunk.direction)].lost;
    if (!std::exchange(told, true))   // how much there was before is not known
      stitcher_.hole({chunk.direction, chunk.offset, chunk.offset, GapReason::kPreAttach, chunk.time_ns});
    stitcher_.undecoded(chunk);
    last_ = chunk.direction;
  }
}

void Conversation::data(const Chunk& chunk) {
  if (chunk.bytes.empty()) return;
  if (middle_) return look_for_beginning(chunk);
  if (parser_) {
    parser_->feed(chunk, stitcher_);
    if (stitcher_.open_count() > kMaxOpen) give_up(chunk.time_ns);
    return;
  }
  Beginning& beginning = beginnings_[static_cast<size_t>(chunk.direction)];
  beginning.any = true;
  if (beginning.first.size() < kFirstBytes)
    beginning.first.append(chunk.bytes.substr(0, kFirstBytes - beginning.first.size()));
  held_.push_back({chunk, std::string(chunk.bytes), std::nullopt});
  held_bytes_ += chunk.bytes.size();
  detect(held_bytes_ > kMaxHeld);
}

void Conversation::gap(const StreamGap& gap) {
  if (first_answer_) begin_with_answer();
  if (parser_) return parser_->gap(gap, stitcher_);
  Beginning& beginning = beginnings_[static_cast<size_t>(gap.direction)];
  if (gap.reason == GapReason::kPreAttach) begin_in_the_middle();
  if (middle_) {
    leave_undecoded();
    beginning.lost = true;
    return stitcher_.hole(gap);
  }
  // Behind a hole the first bytes are no longer the first ones; before the capture they may be.
  if (!beginning.any) beginning.lost = true;
  beginning.any = true;
  held_.push_back({{}, {}, gap});
  held_bytes_ += sizeof(Held);
  detect(held_bytes_ > kMaxHeld);
}

// `last`: no more bytes will help; decide.
void Conversation::detect(bool last) {
  const Beginning& client = beginnings_[0];
  const Beginning& server = beginnings_[1];
  bool open = false;  // a row may still fit
  for (const Protocol& row : protocols()) {
    Looks request = row.looks_like(client.first);
    Looks answer = row.looks_like_answer(server.first);
    if (request == Looks::kYes) return choose(row.name, row.make());
    // The server's bytes decide only where the client's beginning is not there to see.
    bool unseen = client.lost || (last && client.first.empty());
    if (unseen && answer == Looks::kYes) return choose(row.name, row.make());
    open |= request == Looks::kMaybe || (client.lost && answer == Looks::kMaybe);
  }
  if (open && !last) return;
  choose("undecoded", make_undecoded("no protocol fits the first bytes"));
}

void Conversation::choose(const char* name, std::unique_ptr<Parser> parser) {
  name_ = name;
  parser_ = std::move(parser);
  held_bytes_ = 0;
  for (Held& held : std::exchange(held_, {})) {
    if (held.gap) {
      parser_->gap(*held.gap, stitcher_);
    } else {
      held.chunk.bytes = held.bytes;
      parser_->feed(held.chunk, stitcher_);
    }
  }
}

void Conversation::finish(bool reset, uint64_t time_ns) {
  if (first_answer_) begin_with_answer();
  if (std::exchange(middle_, false)) {
    leave_undecoded();
    return stitcher_.finish(GapReason::kConnectionReset, time_ns);
  }
  if (!parser_ && held_.empty()) return;
  if (!parser_) detect(true);
  stitcher_.no_more_requests();
  parser_->finish(reset ? std::optional(GapReason::kConnectionReset) : std::nullopt, time_ns,
                  stitcher_);
  stitcher_.finish(GapReason::kConnectionReset, time_ns);
}

void Conversation::give_up(uint64_t time_ns) {
  if (first_answer_) begin_with_answer();
  if (std::exchange(middle_, false)) leave_undecoded();
  if (!parser_) choose("undecoded", make_undecoded("given up to stay within the memory limit"));
  stitcher_.no_more_requests();
  parser_->finish(GapReason::kMemoryLimit, time_ns, stitcher_);
  stitcher_.finish(GapReason::kMemoryLimit, time_ns);
  parser_ = make_undecoded("given up to stay within the memory limit");
  name_ = "undecoded";
}

std::optional<ResumePoint> Conversation::resume_point() const {
  if (!parser_) return std::nullopt;
  const bool undecoded = name_ == std::string_view("undecoded");
  auto point = stitcher_.resume_point(
      {parser_->boundary(Direction::kToServer), parser_->boundary(Direction::kToClient)}, undecoded);
  if (!point) return point;
  const bool ended = !undecoded && !parser_->boundary(Direction::kToServer);   // both directions are
  point->protocol = ended ? "undecoded" : name_;
  return point;
}

void Conversation::resume(const ResumePoint& point) {
  stitcher_.resume(point);
  if (point.protocol == "undecoded") {
    for (Direction direction : {Direction::kToServer, Direction::kToClient})   // its first part said why
      if (point.from[static_cast<size_t>(direction)] > 0) stitcher_.lost(direction, nullptr, "");
    return choose("undecoded", make_undecoded("no protocol fits the first bytes"));
  }
  for (const Protocol& row : protocols())
    if (point.protocol == row.name) choose(row.name, row.make());
}

size_t Conversation::memory_bytes() const {
  size_t total = sizeof *this + stitcher_.memory_bytes() + held_bytes_;
  total += held_.size() * sizeof(Held);
  if (parser_) total += parser_->memory_bytes();
  return total;
}

}  // namespace infertrail
