/* Which socket a TLS object belongs to: its first ciphertext is published, flow.bpf.c finds it. */
#ifndef INFERTRAIL_TLS_BIND_H
#define INFERTRAIL_TLS_BIND_H

#include "emit.h"

/* BIO_write of ciphertext, inside an SSL call of an object whose socket is not known: if a TLS record
 * starts here, its first bytes name the object on the wire. */
static __always_inline int publish(struct tls_object *object, struct object_key *key, u64 from, long length) {
  u8 head[10];
  if (length < 5 + 18 || bpf_probe_read_user(head, sizeof(head), (void *)from)) return 0;
  if (head[1] != 3) return 0;
  struct fingerprint print = {.kind = head[0]};
  u32 body = (u32)head[3] << 8 | head[4];
  long error;
  if (head[0] == 22) {   /* only the hellos: other handshake records repeat between connections */
    if ((head[5] != 1 && head[5] != 2) || head[9] != 3 || length < 5 + 30) return 0;
    error = bpf_probe_read_user(print.bytes, 24, (void *)(from + 11));
    /* A HelloRetryRequest has a constant random (RFC 8446 4.1.3). */
    if (print.bytes[0] == 0xCF && print.bytes[1] == 0x21 && print.bytes[2] == 0xAD &&
        print.bytes[3] == 0x74)
      return 0;
    object->hello = 1;
    object->role = head[5] == 1 ? IT_ROLE_CLIENT : IT_ROLE_SERVER;
  } else if (head[0] == 23 && body >= 18) {
    u64 n = body < 24 ? body : 24;
    if (length < 5 + (long)n) return 0;
    at_most(n, 24);
    error = bpf_probe_read_user(print.bytes, n, (void *)(from + 5));
  } else {
    return 0;
  }
  if (error) return 0;
  struct fingerprint_owner owner = {.key = *key, .id = object->id};
  bpf_map_update_elem(&fingerprints, &print, &owner, BPF_ANY);
  return 0;
}

#endif
