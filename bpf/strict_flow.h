/* Back-pressure for plain TCP, whose bytes are captured where no process can be stopped: a segment that
 * finds no room is dropped before TCP or the wire has it, and TCP repeats it later. Nothing passes
 * unrecorded, and no caller sees an error: a sender's own drop (-EPERM) leaves the bytes in its queue, to
 * be tried again at the next ACK or send, else by the timer of window probes (200 ms, doubling).
 * `drop and slow down` (2) is not used: its timer of 0.5 s counts 15 tries, then the connection dies. */
#ifndef INFERTRAIL_STRICT_FLOW_H
#define INFERTRAIL_STRICT_FLOW_H

#include "strict.h"

/* May a segment be held back? `held_ns`: since when others of its direction are, 0: they are not. */
static __always_inline int may_hold(u64 mark, u64 held_ns) {
  if (!mark) return 0;
  u64 now = bpf_ktime_get_ns();
  if (nobody_reads(now)) return 0;
  return !held_ns || now <= held_ns || now - held_ns <= IT_STRICT_HOLD_NS;
}

/* What arrives is held back later than what leaves: of two ends on this host the sender waits, and nothing
 * is dropped that was recorded already. */
static __always_inline int over_mark(u64 mark, u8 direction) {
  if (!mark) return 0;
  if (direction == IT_IN) mark += mark / 2;
  return bpf_ringbuf_query(&data_ring, BPF_RB_AVAIL_DATA) > mark;
}

static __always_inline void note_held(u64 *since_ns) {
  if (!*since_ns) *since_ns = bpf_ktime_get_ns();
  strict_count(IT_STRICT_REPEATS);
}

#endif
