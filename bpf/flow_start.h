/* TLS that does not begin with the first bytes of a connection, or not whole: behind a PROXY header (haproxy's
 * proxy-protocol.txt, 2.1 and 2.2), after a dialogue in clear (STARTTLS, CONNECT), or in tiny segments.
 *
 * The first segments of a plain flow are looked at: a ClientHello begins with a segment, or behind a PROXY header
 * in the first one. What could be its first bytes is held back until six are there, and given back when it
 * is none. From where TLS begins nothing is copied, and the flow binds as any TLS flow does. */
#ifndef INFERTRAIL_FLOW_START_H
#define INFERTRAIL_FLOW_START_H

#include "emit.h"

#define LOOKS 64          /* segments of both directions */
#define HELLO_START 6     /* record header, and the type of the handshake message */
#define HELLO_FIRST 35    /* up to the end of the part of the random that names an object (tls_bind.h) */
#define PROXY1_MOST 107

static __always_inline int starts_hello(u32 index, u8 byte) {
  switch (index) {
    case 0: return byte == 22;
    case 1: return byte == 3;
    case 2: return byte <= 4;
    case 3: return byte <= 0x41;   /* 2^14 + 256 bytes at most */
    case 5: return byte == 1;
  }
  return 1;
}

/* Bytes that were held back and begin no TLS. */
static __noinline int give_back(struct flow_state *flow, u64 which) {
  if (!flow) return 0;
  u64 d = which & 1;
  u32 n = flow->held[d];
  if (!n) return 0;
  at_most(n, HELLO_START);
  flow->held[d] = 0;
  struct data_event *event = bpf_ringbuf_reserve(&data_ring, sizeof(*event) + sizeof(flow->held_bytes[d]), 0);
  if (!event) {
    lose(flow->cookie, 0, d, flow->held_at[d], flow->held_at[d] + n, IT_LOSS_RING_FULL);
    return 0;
  }
  fill_data(event, 0, IT_FLOW_DATA, flow->cookie, d, flow->held_at[d], n, sizeof(*event));
  __builtin_memcpy(event + 1, flow->held_bytes[d], sizeof(flow->held_bytes[d]));
  bpf_ringbuf_submit(event, data_flags(sizeof(*event) + sizeof(flow->held_bytes[d])));
  return 0;
}

static __always_inline void tls_begins(struct flow_state *flow, u64 d) {
  const u8 *start = flow->held_bytes[d];
  flow->tls_from[d] = flow->held_at[d];
  flow->tls_from[!d] = flow->end[!d];
  flow->next_record[d] = flow->held_at[d] + 5 + ((u32)start[3] << 8 | start[4]);
  flow->next_record[!d] = flow->end[!d];
  flow->looks = 0;
  flow->tls = 1;
  struct flow_tls_event *event = RESERVE_CONTROL(struct flow_tls_event, IT_FLOW_TLS_BEGINS);
  if (!event) return;
  event->cookie = flow->cookie;
  event->from[IT_IN] = flow->tls_from[IT_IN];
  event->from[IT_OUT] = flow->tls_from[IT_OUT];
  bpf_ringbuf_submit(event, 0);
}

#endif
