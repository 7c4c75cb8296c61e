#include "daemon/session.h"

#include <string_view>
#include <utility>

namespace infertrail {
namespace {

bool looks_like_request(std::string_view bytes) {
  for (std::string_view method : {"GET ", "POST ", "PUT ", "DELETE ", "HEAD ", "OPTIONS ", "PATCH ",
                                  "CONNECT ", "TRACE ", "PRI * "})
    if (bytes.starts_with(method)) return true;
  return false;
}

}  // namespace

Session::Session(StreamId id, const SessionLimits& limits, uint64_t now_ns)
    : id_(id), limits_(limits), born_ns_(now_ns), last_ns_(now_ns),
      conversation_(limits.conversation), connection_(conversation_) {
  facts_.flow.set_tls(id.tls);
  facts_.flow.set_bind("unresolved");
}

Direction Session::direction_of(uint8_t side) const {
  const bool to_server = (side == IT_IN) == (facts_.role == IT_ROLE_SERVER);
  return to_server ? Direction::kToServer : Direction::kToClient;
}

void Session::resume(const Resume& point) {
  facts_.role = point.role;
  recorded_ = point.done;
  ResumePoint from;
  from.count = point.count;
  from.protocol = point.protocol;
  for (uint8_t side : {IT_IN, IT_OUT}) {
    const Direction direction = direction_of(side);
    from.from[static_cast<size_t>(direction)] = point.from[side];
    connection_.resume_at(direction, point.from[side]);
    begun_[side] = point.from[side] > 0;
  }
  conversation_.resume(from);
}

bool Session::recorded_before(const Exchange& exchange) {
  for (const ExchangeGap& gap : exchange.gaps) diverged_ = diverged_ || gap.gap.reason == GapReason::kDaemonDown;
  if (diverged_ || recorded_ == 0) return false;
  recorded_--;
  return true;
}

std::optional<Resume> Session::resume_point() const {
  if (!directed() || !undirected_.empty() || !unbound_.empty()) return std::nullopt;
  auto from = conversation_.resume_point();
  if (!from) return std::nullopt;
  Resume point;
  point.count = from->count;
  point.role = facts_.role;
  point.protocol = from->protocol;
  for (uint8_t side : {IT_IN, IT_OUT}) point.from[side] = from->from[static_cast<size_t>(direction_of(side))];
  return point;
}

void Session::open(StreamFacts facts) {
  opened_ = true;
  if (facts.role == IT_ROLE_UNKNOWN) facts.role = facts_.role;   // resumed, or decided by what was said
  if (!bound_) facts_ = std::move(facts);
  if (!id_.tls) bound_ = true;
  if (directed()) direct();
}

void Session::bind(const StreamFacts& flow) {
  if (bound_) return;
  bound_ = true;
  Process process = std::move(facts_.process);   // the TLS object's own, not the listener's
  const uint8_t guessed = facts_.role;
  facts_ = flow;
  facts_.process = std::move(process);
  if (guessed != IT_ROLE_UNKNOWN && guessed != facts_.role) facts_.role = guessed;   // already fed
  if (facts_.flow.client().empty()) facts_.flow.set_bind("unresolved");
  facts_.flow.set_tls(true);
  if (directed()) direct();
}

// No handshake was seen and no socket is known: who sends a request is the client.
void Session::decide_role() {
  if (directed() || undirected_.empty()) return;
  facts_.role = IT_ROLE_SERVER;
  for (const StreamMessage& held : undirected_) {
    if (held.kind != StreamMessage::Kind::kData || !looks_like_request(held.bytes)) continue;
    if (held.side == IT_OUT) facts_.role = IT_ROLE_CLIENT;
    break;
  }
  facts_.flow.set_direction(facts_.role == IT_ROLE_SERVER ? "served" : "called");
  direct();
}

void Session::direct() {
  std::deque<StreamMessage> held = std::exchange(undirected_, {});
  undirected_bytes_ = 0;
  for (const StreamMessage& message : held) feed(message);
}

void Session::feed(const StreamMessage& message) {
  const Direction direction = direction_of(message.side);
  if (facts_.pre_attach) conversation_.begin_in_the_middle();
  if (message.kind == StreamMessage::Kind::kLoss) {
    connection_.missing(direction, message.offset, message.end[0], message.reason, message.time_ns);
    return;
  }
  // A connection older than the capture begins wherever its first captured byte stands.
  if (!std::exchange(begun_[message.side], true) && facts_.pre_attach && message.offset > 0)
    connection_.start_at(direction, message.offset, message.time_ns);
  connection_.add({direction, message.offset, message.time_ns, message.bytes});
}

void Session::data(StreamMessage message) {
  last_ns_ = message.time_ns;
  if (directed()) return feed(message);
  undirected_bytes_ += message.bytes.size();
  undirected_.push_back(std::move(message));
  if (undirected_bytes_ > limits_.undirected_bytes) decide_role();
}

void Session::loss(const StreamMessage& message) {
  if (directed()) return feed(message);
  StreamMessage copy;
  copy.kind = message.kind;
  copy.side = message.side;
  copy.offset = message.offset;
  copy.end[0] = message.end[0];
  copy.reason = message.reason;
  copy.time_ns = message.time_ns;
  undirected_.push_back(std::move(copy));
}

void Session::close(const StreamMessage& message) {
  if (std::exchange(closed_, true)) return;
  if (!directed()) decide_role();
  if (message.ends_known && directed()) {
    for (uint8_t side : {IT_IN, IT_OUT}) {
      const Direction direction = direction_of(side);
      const uint64_t seen = connection_.position(direction);
      if (message.end[side] > seen && (begun_[side] || !facts_.pre_attach))
        connection_.missing(direction, seen, message.end[side], GapReason::kRingFull, message.time_ns);
    }
  }
  connection_.close(message.time_ns);
  conversation_.finish(message.reset, message.time_ns);
}

void Session::tick(uint64_t now_ns) {
  if (!directed() && !undirected_.empty() && now_ns > born_ns_ + limits_.undirected_ns) decide_role();
  connection_.tick(now_ns);
  conversation_.settle(now_ns);
}

void Session::give_up(uint64_t now_ns) {
  decide_role();
  conversation_.give_up(now_ns);
}

void Session::stop(uint64_t now_ns) {
  if (std::exchange(closed_, true)) return;
  decide_role();
  connection_.close(now_ns);
  conversation_.finish(true, now_ns);
}

std::vector<Exchange> Session::take(uint64_t now_ns) {
  for (Exchange& exchange : conversation_.take()) unbound_.push_back(std::move(exchange));
  std::vector<Exchange> ready;
  while (!unbound_.empty()) {
    const Exchange& first = unbound_.front();
    const uint64_t ended = std::max(first.request_last_ns, first.response_last_ns);
    if (!bound_ && !closed_ && now_ns < ended + limits_.unbound_ns) break;
    ready.push_back(std::move(unbound_.front()));
    unbound_.pop_front();
  }
  return ready;
}

size_t Session::memory_bytes() const {
  return sizeof(*this) + undirected_bytes_ + conversation_.memory_bytes() + connection_.held_bytes();
}

}  // namespace infertrail
