/* The socket of a TLS object: by its first ciphertext (tls_bind.h publishes it), in one segment or in pieces,
 * else by its descriptor. */
#ifndef INFERTRAIL_FLOW_BIND_H
#define INFERTRAIL_FLOW_BIND_H

#include "flow_segment.h"
#include "flow_start.h"

#define TLS_CHANGE_CIPHER 20
#define TLS_HANDSHAKE 22
#define TLS_APPLICATION_DATA 23

/* The first bytes of a TLS record as the key that tls.bpf.c published; 0 = no key in it. */
static __always_inline int fingerprint_of(struct __sk_buff *skb, const struct segment *segment,
                                          struct fingerprint *out) {
  u8 head[11];
  if (segment->length < 5 + 18) return 0;
  if (bpf_skb_load_bytes(skb, segment->payload, head, sizeof(head))) return 0;
  u32 body = (u32)head[3] << 8 | head[4];
  __builtin_memset(out, 0, sizeof(*out));
  out->kind = head[0];
  if (head[0] == TLS_HANDSHAKE) {
    if ((head[5] != 1 && head[5] != 2) || head[9] != 3 || segment->length < 5 + 30) return 0;
    return !bpf_skb_load_bytes(skb, segment->payload + 11, out->bytes, 24);
  }
  if (head[0] != TLS_APPLICATION_DATA || body < 18) return 0;
  if (body < 24) {
    u64 k = body - 1;
    asm volatile("" : "+r"(k));
    k &= 31;
    k += 1;
    if (k > 24 || segment->length < 5 + body) return 0;
    return !bpf_skb_load_bytes(skb, segment->payload + 5, out->bytes, k);
  }
  if (segment->length < 5 + 24) return 0;
  return !bpf_skb_load_bytes(skb, segment->payload + 5, out->bytes, 24);
}

static __always_inline void bind(struct object_key *key, u64 id, u8 method, struct flow_state *flow) {
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, key);
  if (!object || object->id != id || object->bound) return;
  object->bound = 1;   /* never rebound within its generation */
  flow->bound = 1;
  flow->object = *key;
  flow->object_id = id;
  struct bind_event *event = RESERVE_CONTROL(struct bind_event, IT_BIND);
  if (!event) return;
  event->object = id;
  event->cookie = flow->cookie;
  event->role = object->role;
  event->flags = object->hello ? IT_BIND_HELLO : 0;
  event->method = method;
  __builtin_memset(event->reserved, 0, sizeof(event->reserved));
  bpf_ringbuf_submit(event, 0);
}

static __always_inline void bind_by(struct fingerprint *print, struct flow_state *flow) {
  struct fingerprint_owner *found = bpf_map_lookup_elem(&fingerprints, print);
  if (!found) return;
  struct fingerprint_owner owner = *found;
  bpf_map_delete_elem(&fingerprints, print);
  bind(&owner.key, owner.id, IT_BIND_FP_EGRESS, flow);
}

static __always_inline void bind_by_fingerprint(struct __sk_buff *skb, const struct segment *segment,
                                                struct flow_state *flow) {
  struct fingerprint print;
  if (fingerprint_of(skb, segment, &print)) bind_by(&print, flow);
}

/* The first record that was sent, from segments that do not hold enough of it: 1 when there is enough. */
__noinline int flow_gather(struct __sk_buff *skb, struct flow_state *flow, u64 offset, u64 at_and_n) {
  if (!flow || flow->wire & IT_WIRE_LATE) return 0;
  u32 at = at_and_n >> 32, n = (u32)at_and_n;
  u32 have = flow->first_have;
  if (have >= HELLO_FIRST || offset != flow->tls_from[IT_OUT] + have) return 0;
  for (u32 i = 0; i < HELLO_FIRST; i++) {
    if (i >= n || have >= HELLO_FIRST) break;
    u64 to = have;
    asm volatile("%0 &= 63" : "+r"(to));   /* the verifier does not follow the check above */
    if (bpf_skb_load_bytes(skb, at + i, &flow->first[to], 1)) break;
    have++;
  }
  flow->first_have = have;
  return have == HELLO_FIRST;
}

static __always_inline void bind_by_gathered(struct __sk_buff *skb, const struct segment *segment,
                                             struct flow_state *flow, u64 offset) {
  if (!flow_gather(skb, flow, offset, (u64)segment->payload << 32 | segment->length)) return;
  const u8 *head = flow->first;
  if (head[0] != TLS_HANDSHAKE || (head[5] != 1 && head[5] != 2) || head[9] != 3) return;
  struct fingerprint print = {.kind = TLS_HANDSHAKE};
  __builtin_memcpy(print.bytes, head + 11, sizeof(print.bytes));
  bind_by(&print, flow);
}

static __always_inline void bind_by_descriptor(struct flow_state *flow) {
  struct socket_owner *found = bpf_map_lookup_elem(&socket_objects, &flow->cookie);
  if (!found) return;
  struct socket_owner owner = *found;
  bpf_map_delete_elem(&socket_objects, &flow->cookie);
  bind(&owner.key, owner.id, owner.method, flow);
}

static __always_inline int looks_like_tls(struct __sk_buff *skb, const struct segment *segment) {
  u8 head[3];
  if (segment->length < 3 || bpf_skb_load_bytes(skb, segment->payload, head, 3)) return 0;
  return head[0] >= 20 && head[0] <= 23 && head[1] == 3 && head[2] <= 4;
}

#endif
