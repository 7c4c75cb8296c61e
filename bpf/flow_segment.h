/* A packet as a segment of TCP, and its payload into the data ring. */
#ifndef INFERTRAIL_FLOW_SEGMENT_H
#define INFERTRAIL_FLOW_SEGMENT_H

#include "strict_flow.h"

struct segment {
  struct address_pair addresses;
  u32 sequence;
  u32 payload;     /* offset in the packet */
  u32 length;
};

/* 1 when the packet is TCP with payload; all but its addresses. */
static __always_inline int parse(struct __sk_buff *skb, struct segment *out, u8 direction) {
  u8 ip[10];
  if (bpf_skb_load_bytes(skb, 0, ip, sizeof(ip))) return 0;
  int v4 = ip[0] >> 4 == 4;
  if ((v4 ? ip[9] : ip[6]) != IPPROTO_TCP) return 0;
  u32 header = v4 ? (ip[0] & 15) * 4 : 40;
  u32 total = skb->len;   /* the IP length is 0 in GSO packets above 64 KiB */
  u8 tcp[16];
  if (bpf_skb_load_bytes(skb, header, tcp, sizeof(tcp))) return 0;
  u16 source = tcp[0] << 8 | tcp[1], destination = tcp[2] << 8 | tcp[3];
  out->addresses.local_port = direction == IT_IN ? destination : source;
  out->addresses.remote_port = direction == IT_IN ? source : destination;
  out->sequence = (u32)tcp[4] << 24 | (u32)tcp[5] << 16 | (u32)tcp[6] << 8 | tcp[7];
  out->payload = header + (tcp[12] >> 4) * 4;
  if (total <= out->payload) return 0;
  out->length = total - out->payload;
  return 1;
}

/* Once a connection. */
static __always_inline int parse_addresses(struct __sk_buff *skb, struct segment *out, u8 direction) {
  u8 ip[40];
  u8 *from = direction == IT_IN ? out->addresses.remote : out->addresses.local;
  u8 *to = direction == IT_IN ? out->addresses.local : out->addresses.remote;
  if (bpf_skb_load_bytes(skb, 0, ip, 20)) return 0;
  if (ip[0] >> 4 == 4) {
    u32 address;
    __builtin_memcpy(&address, ip + 12, 4);
    v4_mapped(from, address);
    __builtin_memcpy(&address, ip + 16, 4);
    v4_mapped(to, address);
    return 1;
  }
  if (bpf_skb_load_bytes(skb, 0, ip, sizeof(ip))) return 0;
  __builtin_memcpy(from, ip + 8, 16);
  __builtin_memcpy(to, ip + 24, 16);
  return 1;
}

/* One part of a segment's payload into the data ring, in the smallest tier that holds it. */
#define COPY_TIER(TIER)                                                                   \
  if (n <= (TIER)) {                                                                      \
    struct data_event *event = bpf_ringbuf_reserve(&data_ring, sizeof(*event) + (TIER), 0);    \
    if (!event) return IT_LOSS_RING_FULL + 1;                                             \
    fill_data(event, 0, IT_FLOW_DATA, stream, direction, offset, n, sizeof(*event));      \
    u64 k = n - 1; /* 6.1's verifier follows this form only (capture.md section 4) */     \
    asm volatile("" : "+r"(k));                                                           \
    k &= (TIER)-1;                                                                        \
    k += 1;                                                                               \
    if (bpf_skb_load_bytes(skb, at, event + 1, k)) {                                      \
      bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);                                       \
      return IT_LOSS_FAULT + 1;                                                           \
    }                                                                                     \
    bpf_ringbuf_submit(event, data_flags(sizeof(*event) + (TIER)));                       \
    return 0;                                                                             \
  }

static __always_inline int copy_tiers(struct __sk_buff *skb, u64 stream, u8 direction, u64 offset,
                                      u32 at, u64 n) {
  COPY_TIER(512)
  COPY_TIER(1024)
  COPY_TIER(2048)
  COPY_TIER(4096)
  COPY_TIER(8192)
  COPY_TIER(16384)
  COPY_TIER(32768)   /* what a receiver's offload joins: in the next tier half of the ring would be air */
  COPY_TIER(65536)
  return IT_LOSS_FAULT + 1;
}

#define HOLD 2   /* in `way`, beside the direction: what finds no room is not lost but held back */

/* -> 1: held back. Global on purpose: the verifier of 6.1 then looks at it once, not once per round of the
 * loop. */
__noinline int flow_copy_part(struct __sk_buff *skb, u64 stream, u64 way, u64 offset, u64 at_and_n) {
  u64 n = (u32)at_and_n;
  u8 direction = way & 1;
  if (!n) return 0;
  int error = copy_tiers(skb, stream, direction, offset, at_and_n >> 32, n);
  if (error == IT_LOSS_RING_FULL + 1 && way & HOLD) return 1;
  if (error) lose(stream, 0, direction, offset, offset + n, error - 1);
  return 0;
}

#define PARTS_MAX 9   /* GSO packets reach 512 KiB (BIG TCP) */

/* -> how many bytes were recorded or told as lost; the rest is held back. */
static __always_inline u32 copy_payload(struct __sk_buff *skb, const struct segment *segment, u64 stream,
                                        u64 way, u64 offset) {
  u32 done = 0;
  for (int i = 0; i < PARTS_MAX; i++) {
    if (done >= segment->length) return done;
    u32 n = segment->length - done;
    if (n > IT_PART_MAX) n = IT_PART_MAX;
    if (flow_copy_part(skb, stream, way, offset + done, (u64)(segment->payload + done) << 32 | n)) return done;
    done += n;
  }
  if (done < segment->length)
    lose(stream, 0, way & 1, offset + done, offset + segment->length, IT_LOSS_FAULT);
  return segment->length;
}

#endif
