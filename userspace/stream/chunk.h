// What a connection is made of once it is in order: bytes, or a named hole. Never a guess.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace infertrail {

// Seen from the protocol: requests go to the server, answers to the client, whichever of the two
// is the monitored process.
enum class Direction : uint8_t { kToServer = 0, kToClient = 1 };

// Why bytes are missing; written into the record as the name in gap_reason_name().
enum class GapReason : uint8_t {
  kRingFull,         // the kernel ring had no room; counted by the probe
  kFault,            // the target's memory could not be read
  kPreAttach,        // the connection is older than the capture
  kLostSegment,      // a sequence range that never arrived although later bytes did
  kDaemonDown,       // between two runs of the daemon
  kBodyLimit,        // longer than the configured limit: counted and hashed, not kept
  kMemoryLimit,      // held bytes were given up to stay within the memory bound
  kConnectionReset,  // the connection ended inside a message
  kProbeMissed,      // the kernel reported probe hits it could not serve
  kKtls,             // a file that the kernel encrypted itself (SSL_sendfile): counted, not seen
};
const char* gap_reason_name(GapReason reason);

// Bytes as captured, not yet in order: offset = position in the stream of that direction, 0 = the
// first byte of the connection. Borrowed for the duration of the call.
struct Segment {
  Direction direction = Direction::kToServer;
  uint64_t offset = 0;
  uint64_t time_ns = 0;   // UNIX time, nanoseconds
  std::string_view bytes;
};

// Bytes in order, each exactly once. Borrowed for the duration of the call.
using Chunk = Segment;

// [from, to) of one direction's stream is missing. to == UINT64_MAX: until the end.
struct StreamGap {
  Direction direction = Direction::kToServer;
  uint64_t from = 0;
  uint64_t to = 0;
  GapReason reason = GapReason::kLostSegment;
  uint64_t time_ns = 0;
};

// Receives one connection in order. Implemented by protocol/conversation.h.
class StreamSink {
 public:
  virtual ~StreamSink() = default;
  virtual void data(const Chunk& chunk) = 0;
  virtual void gap(const StreamGap& gap) = 0;
};

}  // namespace infertrail
