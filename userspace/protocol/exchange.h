// An exchange is a request and its answer. Stitcher is the one place, for all protocols, where
// messages become exchanges: answers belong to requests in the order of the requests.
//
// Never a guess: an answer whose request will not be seen is an exchange of its own without a
// request, a request whose answer was lost is one without an answer, and both are not complete.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "protocol/body.h"
#include "protocol/parser.h"
#include "stream/chunk.h"

namespace infertrail {

struct ExchangeGap {
  StreamGap gap;  // its direction says whose bytes: kToServer = request, kToClient = response
  std::string note;
};

struct Exchange {
  uint32_t number = 0;        // on this connection, from 1, in the order in which they began
  bool has_request = false;   // a request head was read
  bool has_response = false;  // a final (not 1xx) answer head was read
  std::string method, target, version;
  uint32_t status = 0;
  std::string reason;
  std::vector<HeaderField> request_headers, response_headers;  // in order, trailers last
  MessageBody request, response;
  std::vector<ExchangeGap> gaps;
  std::vector<std::string> notes;  // oddities for a person; never payload
  bool complete = false;           // nothing of it is missing
  bool undecoded = false;          // raw bytes of both directions in request.raw and response.raw
  uint64_t request_first_ns = 0, request_last_ns = 0;  // 0: no byte seen
  uint64_t response_first_ns = 0, response_last_ns = 0;
};

// Where a new Conversation can go on as this one would, once the exchanges taken so far are safe.
struct ResumePoint {
  std::array<uint64_t, 2> from{};  // stream offset by Direction: nothing before it is needed
  uint32_t count = 0;              // exchanges that began before
  std::string protocol;            // Conversation::protocol()
};

struct ConversationLimits {
  size_t max_body_bytes = 16u << 20;  // kept per body; the rest is counted and hashed
  bool digests = true;
};

class Stitcher : public MessageSink {
 public:
  explicit Stitcher(ConversationLimits limits) : limits_(limits) {}

  AnswerTo answer_to(uint64_t time_ns) override;
  void head(Direction direction, Head head, const Chunk& first) override;
  void interim(const Head& head) override;
  void body(const Chunk& chunk) override;
  void trailers(Direction direction, std::vector<HeaderField> fields) override;
  void end(Direction direction, uint64_t time_ns) override;
  void hole(const StreamGap& gap) override;
  void lost(Direction direction, const StreamGap* gap, std::string note) override;
  void undecoded(const Chunk& chunk) override;

  // The first beginning of a connection that is older than the capture: what was undecoded so far is
  // a part of its own. `alone`: it begins with the answer to a request that was not seen.
  void begin(bool alone);
  // No request comes any more: answers that still wait for one are alone.
  void no_more_requests() { no_more_requests_ = true; }
  // The connection is over (or given up): what is open becomes an incomplete exchange.
  void finish(GapReason reason, uint64_t time_ns);

  std::vector<Exchange> take();
  // With the parser's boundaries; nothing when what is to come depends on what was before. `protocol`
  // stays empty here.
  std::optional<ResumePoint> resume_point(std::array<std::optional<uint64_t>, 2> boundaries,
                                          bool undecoded) const;
  void resume(const ResumePoint& point);
  size_t open_count() const { return open_.size(); }
  size_t memory_bytes() const;

 private:
  struct Open {
    explicit Open(const ConversationLimits& limits)
        : request(limits.max_body_bytes, limits.digests),
          response(limits.max_body_bytes, limits.digests) {}
    Exchange exchange;
    BodyBuilder request, response;
    bool request_done = false, response_done = false;
    bool broken = false;  // a part is missing that no gap of the stream names
    std::array<std::optional<uint64_t>, 2> begun;  // offset of its first byte or gap, by Direction
  };
  struct Side {
    bool lost = false;
    std::optional<ExchangeGap> gap;    // why, when bytes are missing
    std::string note;                  // why, when they are not
    std::vector<ExchangeGap> pending;  // for the next exchange that begins on this side
    std::vector<std::string> pending_notes;
    bool unreported = false;  // `pending` holds a gap that no exchange names yet
    uint64_t position = 0;    // end of the last bytes seen
  };

  Side& side(Direction direction) { return sides_[static_cast<size_t>(direction)]; }
  Open& begin_exchange(bool front);
  Open* current(Direction direction);
  Open* unanswered();
  void seen(const Chunk& chunk, Open& open);
  void take_pending(Direction direction, Open& open);
  void begin_request(Head head, const Chunk& first);
  void begin_response(Head head, const Chunk& first);
  void settle();
  void complete(Open open);
  void name_missing(Open& open);
  MessageBody end_body(BodyBuilder& builder, Direction direction, Exchange& exchange);
  Open& undecoded_part(Direction direction);
  void end_undecoded();

  ConversationLimits limits_;
  std::array<Side, 2> sides_;
  std::deque<Open> open_;
  std::optional<Open> undecoded_;
  std::vector<Exchange> finished_;
  size_t finished_bytes_ = 0;
  uint32_t count_ = 0;
  bool no_more_requests_ = false;
  bool next_answer_alone_ = false;
  bool requests_unseen_ = false;   // until the first one is
};

}  // namespace infertrail
