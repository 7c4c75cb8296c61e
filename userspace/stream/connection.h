// One connection, put in order: segments in, chunks and named gaps out. Each byte is given to the
// sink at most once, in stream order per direction; whatever cannot be given is named by a
// StreamGap.
//
// Limits: out-of-order bytes are held up to `held_bytes` per direction (and kMaxPieces pieces);
// beyond that, or `hole_timeout_ns` after the bytes behind a hole arrived, the hole becomes a
// kLostSegment gap. Bytes that arrive after their place was named a gap are dropped: the gap
// stands. Where two segments disagree about a byte the first one that arrived counts. Ownership:
// borrows the sink, which must outlive it. Thread: belongs to one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "stream/chunk.h"

namespace infertrail {

struct ConnectionLimits {
  size_t held_bytes = 8u << 20;
  uint64_t hole_timeout_ns = 2'000'000'000;
};

class Connection {
 public:
  explicit Connection(StreamSink& sink, ConnectionLimits limits = {});

  // The connection is older than the capture: [0, offset) of this direction was never seen.
  void start_at(Direction direction, uint64_t offset, uint64_t time_ns = 0);
  // Instead of the beginning: what is before `offset` was given out by another one.
  void resume_at(Direction direction, uint64_t offset) { at(direction).next = offset; }
  void add(const Segment& segment);
  // [from, to) was lost and will not come (to == UINT64_MAX: length unknown). Bytes of the range
  // that did arrive still count; only what is really missing becomes a gap with this reason.
  void missing(Direction direction, uint64_t from, uint64_t to, GapReason reason,
               uint64_t time_ns = 0);
  // Names holes that are older than the time-out. Call now and then.
  void tick(uint64_t now_ns);
  // No more bytes come: names every hole that is left and gives out everything held.
  void close(uint64_t now_ns);

  size_t held_bytes() const;
  // The offset up to which everything was given out or named.
  uint64_t position(Direction direction) const { return at(direction).next; }

 private:
  struct Piece {
    std::string bytes;
    uint64_t time_ns;
  };
  struct Declared {
    uint64_t to;
    GapReason reason;
    uint64_t time_ns;
  };
  struct Half {
    uint64_t next = 0;
    size_t held_bytes = 0;
    std::map<uint64_t, Piece> held;         // by offset; never overlapping, all >= next
    std::map<uint64_t, Declared> declared;  // by start; may overlap, the lower start counts
  };
  static constexpr size_t kMaxPieces = 64u << 10;

  Half& at(Direction direction) { return halves_[static_cast<size_t>(direction)]; }
  const Half& at(Direction direction) const { return halves_[static_cast<size_t>(direction)]; }
  void hold(Half& half, Segment segment);
  void drain(Direction direction);
  bool drain_declared(Direction direction);
  void name_hole(Direction direction, uint64_t to, uint64_t time_ns);
  void emit_gap(Direction direction, uint64_t to, GapReason reason, uint64_t time_ns);

  StreamSink& sink_;
  ConnectionLimits limits_;
  std::array<Half, 2> halves_;
};

}  // namespace infertrail
