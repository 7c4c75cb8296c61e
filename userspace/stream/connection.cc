#include "stream/connection.h"

#include <algorithm>
#include <utility>

namespace infertrail {
namespace {

constexpr uint64_t kEnd = UINT64_MAX;

}  // namespace

Connection::Connection(StreamSink& sink, ConnectionLimits limits) : sink_(sink), limits_(limits) {}

void Connection::start_at(Direction direction, uint64_t offset, uint64_t time_ns) {
  missing(direction, 0, offset, GapReason::kPreAttach, time_ns);
}

void Connection::add(const Segment& segment) {
  Half& half = at(segment.direction);
  Segment rest = segment;
  // Offsets near 2^64 cannot be real; the end must stay representable below kEnd.
  if (rest.bytes.size() >= kEnd - rest.offset)
    rest.bytes =
        rest.bytes.substr(0, static_cast<size_t>(kEnd - 1 - std::min(rest.offset, kEnd - 1)));
  if (rest.offset < half.next) {
    uint64_t known = std::min<uint64_t>(half.next - rest.offset, rest.bytes.size());
    rest.bytes.remove_prefix(static_cast<size_t>(known));
    rest.offset += known;
  }
  if (rest.bytes.empty()) return;
  if (rest.offset == half.next && half.held.empty()) {
    half.next += rest.bytes.size();
    sink_.data(rest);
  } else {
    hold(half, rest);
  }
  drain(segment.direction);
  while (half.held_bytes > limits_.held_bytes || half.held.size() > kMaxPieces) {
    name_hole(segment.direction, half.held.begin()->first, segment.time_ns);
    drain(segment.direction);
  }
}

// Copies what is not held yet, cut around the pieces that are.
void Connection::hold(Half& half, Segment segment) {
  while (!segment.bytes.empty()) {
    auto after = half.held.upper_bound(segment.offset);
    if (after != half.held.begin()) {
      const auto& [offset, piece] = *std::prev(after);
      uint64_t end = offset + piece.bytes.size();
      if (end > segment.offset) {
        uint64_t known = std::min<uint64_t>(end - segment.offset, segment.bytes.size());
        segment.bytes.remove_prefix(static_cast<size_t>(known));
        segment.offset += known;
        continue;
      }
    }
    uint64_t room = after == half.held.end() ? kEnd : after->first - segment.offset;
    std::string_view fresh = segment.bytes.substr(
        0, static_cast<size_t>(std::min<uint64_t>(room, segment.bytes.size())));
    half.held.emplace(segment.offset, Piece{std::string(fresh), segment.time_ns});
    half.held_bytes += fresh.size();
    segment.bytes.remove_prefix(fresh.size());
    segment.offset += fresh.size();
  }
}

void Connection::drain(Direction direction) {
  Half& half = at(direction);
  while (true) {
    if (!half.held.empty() && half.held.begin()->first == half.next) {
      auto node = half.held.extract(half.held.begin());
      half.held_bytes -= node.mapped().bytes.size();
      half.next += node.mapped().bytes.size();
      sink_.data({direction, node.key(), node.mapped().time_ns, node.mapped().bytes});
    } else if (!drain_declared(direction)) {
      return;
    }
  }
}

// Emits the gap that starts at `next` when it was declared; false when there is none (yet).
bool Connection::drain_declared(Direction direction) {
  Half& half = at(direction);
  while (!half.declared.empty()) {
    auto first = half.declared.begin();
    if (first->first > half.next) return false;
    if (first->second.to <= half.next) {
      half.declared.erase(first);
      continue;
    }
    uint64_t to = first->second.to;
    if (!half.held.empty()) to = std::min(to, half.held.begin()->first);
    if (to == kEnd) return false;  // the length shows when later bytes come, or at close()
    emit_gap(direction, to, first->second.reason, first->second.time_ns);
    return true;
  }
  return false;
}

void Connection::missing(Direction direction, uint64_t from, uint64_t to, GapReason reason,
                         uint64_t time_ns) {
  Half& half = at(direction);
  from = std::max(from, half.next);
  if (from >= to) return;
  auto [known, fresh] = half.declared.emplace(from, Declared{to, reason, time_ns});
  if (!fresh && to > known->second.to) {
    // The same start was declared before: the new one adds what lies behind the old one's end.
    missing(direction, known->second.to, to, reason, time_ns);
    return;
  }
  drain(direction);
}

// Names [next, to): declared parts by their reason, the rest as lost.
void Connection::name_hole(Direction direction, uint64_t to, uint64_t time_ns) {
  Half& half = at(direction);
  while (half.next < to) {
    while (!half.declared.empty() && half.declared.begin()->second.to <= half.next)
      half.declared.erase(half.declared.begin());
    if (half.declared.empty() || half.declared.begin()->first >= to) {
      emit_gap(direction, to, GapReason::kLostSegment, time_ns);
    } else if (half.declared.begin()->first > half.next) {
      emit_gap(direction, half.declared.begin()->first, GapReason::kLostSegment, time_ns);
    } else {
      const Declared declared = half.declared.begin()->second;
      emit_gap(direction, std::min(to, declared.to), declared.reason, declared.time_ns);
    }
  }
}

void Connection::emit_gap(Direction direction, uint64_t to, GapReason reason, uint64_t time_ns) {
  Half& half = at(direction);
  StreamGap gap{direction, half.next, to, reason, time_ns};
  half.next = to;
  sink_.gap(gap);
}

void Connection::tick(uint64_t now_ns) {
  for (Direction direction : {Direction::kToServer, Direction::kToClient}) {
    Half& half = at(direction);
    while (!half.held.empty()) {
      const auto& [offset, piece] = *half.held.begin();
      if (now_ns < piece.time_ns || now_ns - piece.time_ns < limits_.hole_timeout_ns) break;
      name_hole(direction, offset, now_ns);
      drain(direction);
    }
  }
}

void Connection::close(uint64_t now_ns) {
  for (Direction direction : {Direction::kToServer, Direction::kToClient}) {
    Half& half = at(direction);
    while (!half.held.empty()) {
      name_hole(direction, half.held.begin()->first, now_ns);
      drain(direction);
    }
    uint64_t last = half.next;
    for (const auto& [from, declared] : half.declared) last = std::max(last, declared.to);
    name_hole(direction, last, now_ns);
    half.declared.clear();
  }
}

size_t Connection::held_bytes() const {
  return halves_[0].held_bytes + halves_[1].held_bytes;
}

}  // namespace infertrail
