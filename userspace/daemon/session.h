// One stream of one connection: puts bytes in order, cuts them into exchanges, and holds what cannot
// be said yet: bytes while nobody knows which end is the server, finished exchanges while nobody
// knows the socket. Belongs to its worker's thread. Time is an argument (UNIX nanoseconds).
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "daemon/message.h"
#include "protocol/conversation.h"
#include "stream/connection.h"

namespace infertrail {

struct SessionLimits {
  ConversationLimits conversation;
  size_t undirected_bytes = 4u << 20;         // held while the role is unknown
  uint64_t undirected_ns = 2'000'000'000;
  uint64_t unbound_ns = 5'000'000'000;        // a finished exchange waits this long for its socket
};

class Session {
 public:
  Session(StreamId id, const SessionLimits& limits, uint64_t now_ns);

  // Before anything else: goes on where another process stood.
  void resume(const Resume& point);
  void open(StreamFacts facts);
  void bind(const StreamFacts& flow);
  void owner(const Process& process) { facts_.process = process; }
  void data(StreamMessage message);
  void loss(const StreamMessage& message);
  void close(const StreamMessage& message);
  void tick(uint64_t now_ns);
  void give_up(uint64_t now_ns);
  // The daemon stops: everything that is open becomes a record, with this reason for what is missing.
  void stop(uint64_t now_ns);

  // Exchanges that can be recorded now, in order.
  std::vector<Exchange> take(uint64_t now_ns);
  // Whether the exchange, of those of take() in their order, is one that another process recorded. Not
  // any more once bytes are missing that it had: what ends then is another exchange, and is recorded.
  bool recorded_before(const Exchange& exchange);
  bool diverged() const { return diverged_; }
  // Right after take(): where to go on once what was taken is durable. Nothing: not from here.
  std::optional<Resume> resume_point() const;
  StreamId id() const { return id_; }
  const StreamFacts& facts() const { return facts_; }
  bool closed() const { return closed_; }
  uint64_t last_activity_ns() const { return last_ns_; }
  size_t memory_bytes() const;

 private:
  bool directed() const { return facts_.role != IT_ROLE_UNKNOWN; }
  Direction direction_of(uint8_t side) const;
  void decide_role();
  void direct();
  void feed(const StreamMessage& message);

  const StreamId id_;
  const SessionLimits limits_;
  StreamFacts facts_;
  bool bound_ = false, opened_ = false, closed_ = false;
  bool begun_[2] = {false, false};
  uint32_t recorded_ = 0;    // exchanges to come that another process recorded
  bool diverged_ = false;
  uint64_t born_ns_, last_ns_;
  std::deque<StreamMessage> undirected_;
  size_t undirected_bytes_ = 0;
  Conversation conversation_;
  Connection connection_;
  std::deque<Exchange> unbound_;
};

}  // namespace infertrail
