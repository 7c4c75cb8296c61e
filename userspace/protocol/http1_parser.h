// The HTTP/1 parser's state, for http1.cc (waiting, holes, ends) and http1_states.cc (the states).
// Everyone else sees http1.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "protocol/parser.h"

namespace infertrail::http1 {

inline constexpr size_t kMaxHead = 256u << 10;
inline constexpr size_t kMaxWaiting = 1u << 20;
// Empty lines before a message are skipped (RFC 9112 2.2), but not without end.
inline constexpr unsigned kMaxBlanks = 8;

enum class State : uint8_t {
  kStart,
  kHead,
  kLength,
  kChunkSize,
  kChunkData,
  kChunkEnd,
  kTrailer,
  kUntilClose,
  kUndecoded,
};

// Bytes, or a gap, that wait for the other direction.
struct Waiting {
  std::string bytes;
  Chunk chunk;  // place and time
  std::optional<StreamGap> gap;
};

struct Half {
  explicit Half(Direction of) : direction(of) {}
  Direction direction;
  State state = State::kStart;
  std::string text;       // the head, trailer or chunk-size line read so far
  size_t line = 0;        // where its last line begins
  Chunk first;            // place and time of its first byte
  uint64_t left = 0;      // of the body or chunk
  uint64_t position = 0;  // behind the last byte or gap
  unsigned blanks = 0;
  bool seen = false;    // any byte or gap so far
  std::optional<uint64_t> begun;  // where the message in progress began, with its interim answers
  std::string method;   // of the request that is being answered
  bool newest = false;  // and whether it was the newest
  std::deque<Waiting> waiting;
  size_t waiting_bytes = 0;
};

class Http1 : public Parser {
 public:
  void feed(const Chunk& chunk, MessageSink& out) override;
  void gap(const StreamGap& gap, MessageSink& out) override;
  void finish(std::optional<GapReason> cut, uint64_t time_ns, MessageSink& out) override;
  size_t memory_bytes() const override;
  std::optional<uint64_t> boundary(Direction direction) const override;

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
  void end_half(Half& half, std::optional<GapReason> cut, uint64_t time_ns, MessageSink& out);
  void lose(Half& half, const StreamGap* gap, const std::string& note, bool give_back,
            MessageSink& out);

  std::array<Half, 2> halves_{Half(Direction::kToServer), Half(Direction::kToClient)};
  bool awaiting_ = false;  // the newest request may change the protocol; what follows must wait
  bool upgraded_ = false;  // it did
  bool finishing_ = false;
};

inline void begin_text(Half& half, State state) {
  half.state = state;
  half.text.clear();
  half.line = 0;
}

}  // namespace infertrail::http1
