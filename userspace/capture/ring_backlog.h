// What waits unread in a BPF ring, without reading it: the positions and record headers of the
// kernel's ring buffer (Documentation/bpf/ringbuf.rst). Thread: any; nobody may consume meanwhile.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace infertrail {

struct RingBacklog {
  uint64_t records = 0;    // finished ones; those that a program discarded are not counted
  uint64_t bytes = 0;      // of those records, without the ring's own headers
  uint64_t oldest_ns = 0;  // CLOCK_MONOTONIC time in the oldest record; 0: there is none
};

Result<RingBacklog> ring_backlog(int ring_fd);

}  // namespace infertrail
