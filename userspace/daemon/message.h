// What the capture thread tells a worker about one stream. Moved, never shared.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "infertrail/event.h"
#include "infertrail/record.pb.h"
#include "stream/chunk.h"

namespace infertrail {

// Whose stream it is and where it goes; filled as far as it is known.
struct StreamFacts {
  Flow flow;              // addresses empty while unknown
  Process process;
  Process peer;           // pid 0: not on this host, or unknown
  uint8_t role = IT_ROLE_UNKNOWN;
  bool pre_attach = false;
};

struct StreamId {
  uint64_t id = 0;    // TLS object id or socket cookie
  bool tls = false;
  bool operator==(const StreamId&) const = default;
};

// Where a stream goes on that another process began to record (daemon/carry.h). Offsets by side.
struct Resume {
  uint64_t from[2] = {0, 0};   // nothing before it is needed any more
  uint32_t count = 0;          // exchanges that began before
  uint32_t done = 0;           // exchanges from here on that are durable already, in the order of ending
  uint8_t role = IT_ROLE_UNKNOWN;
  std::string protocol;
};

struct StreamMessage {
  // kTick: every byte of every stream up to time_ns has been handed over.
  enum class Kind { kOpen, kBind, kOwner, kData, kLoss, kClose, kForget, kTick, kResume };
  // kForget: not of a chosen process; what is held of it is dropped and never recorded
  // kResume: the first message of a stream that another process began to record
  Kind kind = Kind::kData;
  StreamId stream;
  uint8_t side = IT_IN;                  // kData, kLoss
  uint64_t offset = 0;                   // kData: of the first byte; kLoss: from
  uint64_t end[2] = {0, 0};              // kLoss: [0] = to; kClose: stream ends by side
  bool ends_known = false;               // kClose
  bool reset = false;                    // kClose: by RST, not by FIN
  uint64_t time_ns = 0;                  // UNIX
  GapReason reason = GapReason::kRingFull;
  std::string bytes;                     // kData
  std::unique_ptr<StreamFacts> facts;    // kOpen, kBind; kOwner: process only
  std::unique_ptr<Resume> resume;        // kResume
};

}  // namespace infertrail
