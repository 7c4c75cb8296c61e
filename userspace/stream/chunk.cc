#include "stream/chunk.h"

namespace infertrail {

const char* gap_reason_name(GapReason reason) {
  switch (reason) {
    case GapReason::kRingFull: return "ring_full";
    case GapReason::kFault: return "fault";
    case GapReason::kPreAttach: return "pre_attach";
    case GapReason::kLostSegment: return "lost_segment";
    case GapReason::kDaemonDown: return "daemon_down";
    case GapReason::kBodyLimit: return "body_limit";
    case GapReason::kMemoryLimit: return "memory_limit";
    case GapReason::kConnectionReset: return "connection_reset";
    case GapReason::kProbeMissed: return "probe_missed";
    case GapReason::kKtls: return "ktls";
  }
  return "unknown";
}

}  // namespace infertrail
