/* The records of a TLS flow on the wire, to be held against the plaintext (docs/architecture.md, coverage). */
#ifndef INFERTRAIL_FLOW_WIRE_H
#define INFERTRAIL_FLOW_WIRE_H

#include "flow_bind.h"

#define HEADER_BYTES 5
#define RECORD_MAX 16640   /* bytes of a record's body at most: 2^14 + 256 (RFC 8446 5.2) */
#define RECORDS_MAX 48     /* records of one segment that are looked at; above, the borders are lost */

static __always_inline int is_record(const u8 *head) {
  return head[0] >= 20 && head[0] <= 24 && head[1] == 3 && head[2] <= 4 &&
         ((u32)head[3] << 8 | head[4]) <= RECORD_MAX;
}

/* 1 when a record begins where this segment begins, and another one, or nothing, behind it. */
static __always_inline int found_again(struct __sk_buff *skb, u32 at, u32 n) {
  u8 head[8] = {};
  if (n < HEADER_BYTES || bpf_skb_load_bytes(skb, at, head, HEADER_BYTES) || !is_record(head)) return 0;
  u32 whole = HEADER_BYTES + ((u32)head[3] << 8 | head[4]);
  if (whole == n) return 1;
  if (whole + HEADER_BYTES > n || bpf_skb_load_bytes(skb, at + whole, head, HEADER_BYTES)) return 0;
  return is_record(head);
}

/* Follows the borders of TLS records through the segments of one direction. Global as flow_copy_part
 * is. `at_and_n`: where the payload starts in the packet, and its bytes. Received segments can be out
 * of order, also on one host (several CPUs deliver): then the borders are lost until a segment begins
 * with one, and the bytes between are counted as skipped. */
__noinline int flow_count_records(struct __sk_buff *skb, struct flow_state *flow, u64 offset,
                                  u64 at_and_n, u64 which) {
  if (!flow) return 0;
  u64 direction = which & 1;
  u32 at = at_and_n >> 32;
  u64 end = offset + (u32)at_and_n;
  u8 lost = direction == IT_IN ? IT_WIRE_LOST_IN : IT_WIRE_LOST_OUT;
  if (end <= flow->next_record[direction]) return 0;   /* inside a record, or seen before */
  if (flow->wire & lost) {
    if (offset < flow->next_record[direction] || !found_again(skb, at, (u32)at_and_n)) return 0;
    flow->skipped[direction] += offset - flow->next_record[direction];
    flow->next_record[direction] = offset;
    flow->have[direction] = 0;
    flow->wire &= ~lost;
  }
  for (int i = 0; i < RECORDS_MAX; i++) {
    u64 next = flow->next_record[direction];
    u64 have = flow->have[direction];
    if (next + have >= end) return 0;
    if (next + have < offset) break;    /* a segment is missing */
    u8 head[8] = {};
    if (have > 0) head[0] = flow->header[direction][0];
    if (have > 1) head[1] = flow->header[direction][1];
    if (have > 2) head[2] = flow->header[direction][2];
    if (have > 3) head[3] = flow->header[direction][3];
    if (have == 0 && next + HEADER_BYTES <= end) {
      if (bpf_skb_load_bytes(skb, at + (u32)(next - offset), head, HEADER_BYTES)) break;
    } else {
      for (u32 j = 0; j < HEADER_BYTES; j++) {
        if (j < have) continue;
        if (next + j >= end) {
          flow->have[direction] = j;
          return 0;
        }
        if (bpf_skb_load_bytes(skb, at + (u32)(next + j - offset), &head[j], 1)) {
          flow->wire |= lost;
          return 0;
        }
        if (j < 4) flow->header[direction][j & 3] = head[j];
      }
    }
    if (!is_record(head)) break;
    u32 body = (u32)head[3] << 8 | head[4];
    flow->have[direction] = 0;
    flow->next_record[direction] = next + HEADER_BYTES + body;
    if (head[0] == TLS_CHANGE_CIPHER) flow->changed[direction] = 1;
    /* The Finished of TLS 1.2; a hello that follows a HelloRetryRequest is longer. */
    if (head[0] == TLS_HANDSHAKE && flow->changed[direction] && body < 100) flow->wire |= IT_WIRE_OLD_TLS;
    if (head[0] != TLS_APPLICATION_DATA) continue;
    flow->sealed[direction] += body;
    if (body >= IT_SEALED_MIN) flow->records[direction]++;
  }
  flow->wire |= lost;
  return 0;
}

#define FIRST_RECORDS 8

/* Counts, and tells when there is something new to hold against the plaintext. */
static __always_inline void weigh(struct __sk_buff *skb, const struct segment *segment,
                                  struct flow_state *flow, u8 direction, u64 offset) {
  u32 before = flow->records[0] + flow->records[1];
  u32 *busy = &flow->busy[direction & 1];
  if (__sync_val_compare_and_swap(busy, 0, 1) == 0) {   /* else: the segment will be missed, and skipped */
    flow_count_records(skb, flow, offset, (u64)segment->payload << 32 | segment->length, direction);
    __sync_val_compare_and_swap(busy, 1, 0);
  }
  u32 records = flow->records[0] + flow->records[1];
  u64 total = flow->end[0] + flow->end[1];
  u64 now = bpf_ktime_get_ns();
  if ((records == before || records > FIRST_RECORDS) && total < 2 * flow->told &&
      now - flow->told_ns < 1000000000)
    return;
  if (total == flow->told) return;
  flow->told = total;
  flow->told_ns = now;
  tell_wire(flow);
}

#endif
