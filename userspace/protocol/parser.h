// What a protocol parser is and what it reports. A parser cuts both directions of one connection
// into messages; it never pairs them: that is the MessageSink's work (exchange.h), once for all
// protocols.
//
// Contract of a parser: every byte it is fed is either inside a message it reports, framing of such
// a message, or given back by undecoded(). Per direction the calls are
//   head (body | hole | interim)* (trailers)? end      and so on, then optionally
//   lost (undecoded | hole)*                            until the connection is over.
// Thread: a parser belongs to its connection's thread. Nothing here throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stream/chunk.h"

namespace infertrail {

struct HeaderField {
  std::string name;   // as sent
  std::string value;  // without surrounding blanks; folded lines joined by one blank
};

// The head of a message, of a request or of an answer.
struct Head {
  std::string method, target;  // request
  uint32_t status = 0;         // answer
  std::string reason;          // answer
  std::string version;         // "1.1"
  std::vector<HeaderField> headers;
  std::vector<std::string> notes;  // what is odd about it, for a person
};

// Value of the first field of that name in any case, or null.
const std::string* find_header(const std::vector<HeaderField>& headers, std::string_view name);
bool same_name(std::string_view a, std::string_view b);  // ASCII case does not count

// What an answer that is about to begin would answer.
struct AnswerTo {
  enum class State : uint8_t {
    kWait,    // its request has not been seen yet but may come
    kKnown,   // the oldest request without an answer
    kUnseen,  // its request will never be seen: an answer alone
  };
  State state = State::kWait;
  std::string_view method;  // with kKnown; borrowed until the next call
  bool newest = false;      // that request is the last one seen
};

class MessageSink {
 public:
  virtual ~MessageSink() = default;
  // Asked before each answer; `time_ns` is the time of its first byte.
  virtual AnswerTo answer_to(uint64_t time_ns) = 0;
  // A message begins; `first` is the place and time of its first byte.
  virtual void head(Direction direction, Head head, const Chunk& first) = 0;
  // A 1xx answer before the real one.
  virtual void interim(const Head& head) = 0;
  virtual void body(const Chunk& chunk) = 0;  // after framing
  virtual void trailers(Direction direction, std::vector<HeaderField> fields) = 0;
  virtual void end(Direction direction, uint64_t time_ns) = 0;
  // Missing bytes the parser could step over: inside the current message of that direction, inside
  // undecoded bytes, or (before the first message) the unseen start of the connection.
  virtual void hole(const StreamGap& gap) = 0;
  // From here on this direction has no messages: after a hole that cannot be stepped over (`gap`),
  // or because of bytes that are not the protocol, or a change of protocol (`note`).
  virtual void lost(Direction direction, const StreamGap* gap, std::string note) = 0;
  virtual void undecoded(const Chunk& chunk) = 0;
};

class Parser {
 public:
  virtual ~Parser() = default;
  virtual void feed(const Chunk& chunk, MessageSink& out) = 0;
  virtual void gap(const StreamGap& gap, MessageSink& out) = 0;
  // No more bytes come; `cut` says why when the connection did not end by itself. Gives out
  // whatever was waiting; what a message in progress still lacks becomes a gap.
  virtual void finish(std::optional<GapReason> cut, uint64_t time_ns, MessageSink& out) = 0;
  virtual size_t memory_bytes() const = 0;
  // Where the message in progress of that direction began, or where the next one will: a new parser
  // that is fed from there on both directions says the same as this one. Nothing: there is no such
  // place, because what is to come depends on what was before.
  virtual std::optional<uint64_t> boundary(Direction) const { return std::nullopt; }
};

enum class Looks : uint8_t { kNo, kMaybe, kYes };  // kMaybe: more bytes are needed

// One row of the table. Detection sees the first bytes of the client's direction;
// `looks_like_answer` the first bytes of the server's, used only when the client's beginning was
// not seen.
struct Protocol {
  const char* name;
  Looks (*looks_like)(std::string_view first);
  Looks (*looks_like_answer)(std::string_view first);
  // Whether bytes at a turn of direction begin a message; stricter, for connections that are older
  // than the capture. An interim answer is none: the request's body may go on behind it.
  Looks (*begins_request)(std::string_view first);
  Looks (*begins_answer)(std::string_view first);
  std::unique_ptr<Parser> (*make)();
};

const std::vector<Protocol>& protocols();
// For everything no row recognises: gives all bytes back, with `why` as the note.
std::unique_ptr<Parser> make_undecoded(std::string why);

}  // namespace infertrail
