/* GnuTLS: plaintext at the return of gnutls_record_send2, gnutls_record_recv and their like, exactly the bytes
 * that the call says. Included by tasks.bpf.c behind tls.bpf.c, whose objects and calls it uses; which
 * functions: userspace/capture/gnutls_probes.cc.
 *
 * A send takes one record, 16 KiB at most, so a large message comes in parts by itself. What is its own:
 * - A send that fails with GNUTLS_E_AGAIN or GNUTLS_E_INTERRUPTED has taken its bytes: the repeated call, with
 *   the same data or with none, sends those, whatever it is given, and says how many. So they are kept here
 *   from the first call, and told by the one that succeeds.
 * - While corked, a send is told when the library takes it; gnutls_record_uncork sends it and tells nothing.
 * - Early data of a client leaves by gnutls_record_send inside gnutls_handshake, and is told there, if at all.
 * - gnutls_record_send_file reads and sends by itself, or the kernel does (kTLS): what no send has told is a hole.
 * The socket: where the library calls its push function, the system's or the program's own, all ciphertext
 * passes, as at OpenSSL's BIO_write. Only where that place is not found (other machines than x86-64), the
 * descriptor counts that the program gave, and only for the library's own push function. */
#include "emit.h"

#define GNUTLS_E_AGAIN -28
#define GNUTLS_E_INTERRUPTED -52

struct kept_send {
  u64 object;
  u64 length;
  u8 bytes[RECORD_MAX];
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct object_key);
  __type(value, struct kept_send);
} gnutls_kept SEC(".maps");
/* A value for a new entry (too large for the stack). */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct kept_send);
} gnutls_blank SEC(".maps");

struct received_packet {
  u64 object;
  u64 offset;
  u64 length;
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct packet_key);
  __type(value, struct received_packet);
} gnutls_packets SEC(".maps");

static __always_inline void gnutls_forget_kept(struct tls_object *object, struct object_key *key) {
  if (!object->pending) return;
  object->pending = 0;
  bpf_map_delete_elem(&gnutls_kept, key);
}

static __always_inline void gnutls_keep(struct tls_object *object, struct object_key *key, struct call *call) {
  if (object->pending || !call->buffer || !call->length) return;   /* a repeated call: the first one's leave */
  u64 n = call->length;
  at_most(n, RECORD_MAX);
  object->pending = n;
  u32 zero = 0;
  struct kept_send *blank = bpf_map_lookup_elem(&gnutls_blank, &zero);
  if (!blank || bpf_map_update_elem(&gnutls_kept, key, blank, BPF_ANY)) {
    count_loss(IT_LOSS_MAP_FULL, 0);   /* lost only if the repeated call comes without the data */
    return;
  }
  struct kept_send *kept = bpf_map_lookup_elem(&gnutls_kept, key);
  if (!kept) return;
  kept->object = object->id;
  kept->length = bpf_probe_read_user(kept->bytes, n, (void *)call->buffer) ? 0 : n;
}

/* The repeated call has sent `n` bytes of the first. */
static __always_inline void gnutls_kept_left(struct tls_object *object, struct object_key *key, struct call *call,
                                             u64 n) {
  u64 at = object->offset[IT_OUT];
  struct kept_send *kept = bpf_map_lookup_elem(&gnutls_kept, key);
  if (kept && kept->object == object->id && n <= kept->length) {
    at_most(n, RECORD_MAX);
    struct data_event *event = bpf_ringbuf_reserve(&data_ring, sizeof(*event) + RECORD_MAX, 0);
    if (event) {
      fill_data(event, bpf_get_current_pid_tgid(), IT_TLS_DATA, object->id, IT_OUT, at, n, sizeof(*event));
      bpf_probe_read_kernel(event + 1, n, kept->bytes);
      bpf_ringbuf_submit(event, data_flags(sizeof(*event) + RECORD_MAX));
    } else {
      lose(object->id, 1, IT_OUT, at, at + n, IT_LOSS_RING_FULL);
    }
  } else if (call->buffer && n <= call->length) {
    emit_at(object, IT_OUT, 0, call->buffer, n);
  } else {
    lose(object->id, 1, IT_OUT, at, at + n, IT_LOSS_FAULT);
  }
  gnutls_forget_kept(object, key);
}

static __always_inline int gnutls_sent(struct call *call, long result) {
  struct object_key key = key_of(call->ssl);
  struct tls_object *object = object_of(&key);
  if (!object) {
    if (result > 0) count_loss(IT_LOSS_MAP_FULL, result);
    return 0;
  }
  if (result <= 0) {
    if (result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED)
      gnutls_keep(object, &key, call);
    else
      gnutls_forget_kept(object, &key);
    return 0;
  }
  flush_joined(object, &key);
  if (object->pending) {
    gnutls_kept_left(object, &key, call, result);
    press_back();
  } else {
    emit_at(object, IT_OUT, 0, call->buffer, result);
  }
  object->offset[IT_OUT] += result;
  return 0;
}

/* What the file's call has moved and no send inside it has told, the kernel has. */
static __always_inline int gnutls_sent_file(struct call *call, long result) {
  if (result <= 0) return 0;
  struct object_key key = key_of(call->ssl);
  struct tls_object *object = object_of(&key);
  if (!object) return 0;
  u64 at = object->offset[IT_OUT], end = call->length + result;
  if (end <= at) return 0;
  lose(object->id, 1, IT_OUT, at, end, IT_LOSS_KTLS);
  object->offset[IT_OUT] = end;
  return 0;
}

/* Its bytes have their place in the stream now, and are seen when the program asks where they are. */
static __always_inline int gnutls_received_packet(struct call *call, long result) {
  if (result <= 0) return 0;
  struct packet_key packet = {.tgid = bpf_get_current_pid_tgid() >> 32};
  struct object_key key = key_of(call->ssl);
  struct tls_object *object = object_of(&key);
  if (!object) {
    count_loss(IT_LOSS_MAP_FULL, result);
    return 0;
  }
  flush_joined(object, &key);
  struct received_packet received = {.object = object->id, .offset = object->offset[IT_IN], .length = result};
  object->offset[IT_IN] += result;
  if (bpf_probe_read_user(&packet.packet, sizeof(packet.packet), (void *)call->buffer) ||
      bpf_map_update_elem(&gnutls_packets, &packet, &received, BPF_ANY))
    lose(received.object, 1, IT_IN, received.offset, received.offset + received.length, IT_LOSS_MAP_FULL);
  return 0;
}

struct gnutls_datum {
  u64 data;
  u32 size;
  u32 padding;
};

static __always_inline int gnutls_packet_bytes(u64 address, u64 datum_address) {
  struct packet_key packet = {.packet = address, .tgid = bpf_get_current_pid_tgid() >> 32};
  struct received_packet *found = bpf_map_lookup_elem(&gnutls_packets, &packet);
  if (!found) return 0;
  struct received_packet received = *found;
  bpf_map_delete_elem(&gnutls_packets, &packet);
  struct gnutls_datum datum = {};
  if (!datum_address || bpf_probe_read_user(&datum, sizeof(datum), (void *)datum_address) ||
      datum.size != received.length) {
    lose(received.object, 1, IT_IN, received.offset, received.offset + received.length, IT_LOSS_FAULT);
    return 0;
  }
  struct copy_job job = {.id = received.object, .offset = received.offset, .from = datum.data,
                         .left = received.length, .direction = IT_IN};
  copy_step(0, &job);   /* a packet is one record */
  press_back();
  return 0;
}

static __always_inline int gnutls_leave(struct pt_regs *ctx) {
  u64 cookie = bpf_get_attach_cookie(ctx);
  struct call call;
  if (!returned(ctx, cookie, &call)) return 0;
  struct library_hits *hits = hits_of(cookie);
  if (hits && call.kind < IT_CALLS) hits->exits[call.kind & (IT_CALLS - 1)] += 1;
  long result = PT_REGS_RC(ctx);
  switch (call.kind) {
    case IT_CALL_READ:
      return result > 0 ? moved(&call, result) : 0;
    case IT_CALL_WRITE:
      return gnutls_sent(&call, result);
    case IT_CALL_READ_PACKET:
      return gnutls_received_packet(&call, result);
    case IT_CALL_HANDSHAKE:
      return call.length_pointer ? gnutls_sent_file(&call, result) : 0;
    case IT_CALL_GNUTLS_PACKET_GET:
      return gnutls_packet_bytes(call.ssl, call.buffer);
    case IT_CALL_GNUTLS_INIT: {   /* what had this address has ended */
      u64 session = 0;
      if ((int)result < 0 || bpf_probe_read_user(&session, sizeof(session), (void *)call.ssl)) return 0;
      return over(session, IT_CALL_NEW);
    }
  }
  return 0;
}

/* All ciphertext of a call passes here before anyone can send it, record by record. */
static __always_inline int gnutls_ciphertext(struct pt_regs *ctx, u64 cookie, int vector) {
  struct call_key current = {.id = bpf_get_current_pid_tgid()};
  struct call *call = call_of(&current);
  if (!call || call->kind >= IT_CALLS) return 0;
  struct library_hits *hits = hits_of(cookie);
  if (hits) hits->enters[IT_CALL_BIO_WRITE] += 1;
  struct object_key key = key_of(call->ssl);
  struct tls_object *object = object_of(&key);
  if (!object || object->bound) return 0;
  u64 from = PT_REGS_PARM2(ctx);
  long length = PT_REGS_PARM3(ctx);
  if (vector) {
    u64 first[2];   /* giovec_t, a struct iovec */
    if (bpf_probe_read_user(first, sizeof(first), (void *)from)) return 0;
    from = first[0];
    length = first[1];
  }
  return publish(object, &key, from, length);
}

/* Only the program's choices count, not what gnutls_init sets. */
static __always_inline int gnutls_transport(struct pt_regs *ctx, u32 function) {
  struct call_key current = {.id = bpf_get_current_pid_tgid()};
  struct call *call = call_of(&current);
  u64 second = PT_REGS_PARM2(ctx), third = PT_REGS_PARM3(ctx);
  asm volatile("" : "+r"(second), "+r"(third));   /* no choice between addresses in the context */
  if (call && call->kind == IT_CALL_GNUTLS_INIT) return 0;
  struct object_key key = key_of(PT_REGS_PARM1(ctx));
  struct tls_object *object = object_of(&key);
  if (!object) return 0;
  if (function == IT_CALL_GNUTLS_SET_PUSH)
    object->closing = 1;
  else
    object->cookie = IT_HAS_DESCRIPTOR | (u32)(function == IT_CALL_GNUTLS_SET_FD ? second : third);
  return 0;
}

/* A handshake of the library's own push function sends by this descriptor, now. */
static __always_inline void gnutls_bind_descriptor(struct object_key *key) {
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, key);
  if (!object || object->bound || object->closing || !object->cookie) return;
  u64 socket = cookie_of_descriptor((u32)object->cookie);
  if (!socket) return;
  struct socket_owner owner = {.key = *key, .id = object->id, .method = IT_BIND_SET_FD};
  bpf_map_update_elem(&socket_objects, &socket, &owner, BPF_ANY);
}

static __always_inline int gnutls_dispatch(struct pt_regs *ctx) {
  if (!takes(ctx)) return 0;
  u64 cookie = bpf_get_attach_cookie(ctx);
  u32 function = IT_COOKIE_FUNCTION(cookie);
  struct object_key key = key_of(PT_REGS_PARM1(ctx));
  switch (function) {
    case IT_CALL_FREE:
      bpf_map_delete_elem(&gnutls_kept, &key);
      return over(key.ssl, function);
    case IT_CALL_SHUTDOWN:
      return over(key.ssl, function);
    case IT_CALL_GNUTLS_PUSH:
    case IT_CALL_GNUTLS_PUSH_VECTOR:
      return gnutls_ciphertext(ctx, cookie, function == IT_CALL_GNUTLS_PUSH_VECTOR);
    case IT_CALL_GNUTLS_PACKET_END:
      return gnutls_packet_bytes(key.ssl, 0);
  }
  if (!target_state(key.tgid)) return 0;
  struct library_hits *hits = function < IT_CALLS ? hits_of(cookie) : 0;
  if (hits) hits->enters[function & (IT_CALLS - 1)] += 1;
  int left = 0;
  switch (function) {
    case IT_CALL_GNUTLS_SET_FD:
    case IT_CALL_GNUTLS_SET_FD2:
    case IT_CALL_GNUTLS_SET_PUSH:
      return gnutls_transport(ctx, function);
    case IT_CALL_SENDFILE: {   /* as a handshake: the sends inside it tell what they move */
      struct tls_object *object = bpf_map_lookup_elem(&tls_objects, &key);
      cookie = IT_COOKIE(IT_CALL_HANDSHAKE, IT_COOKIE_STACK(cookie), IT_COOKIE_LIBRARY(cookie));
      left = entered(ctx, cookie, object ? object->offset[IT_OUT] : 0, 1);
      break;
    }
    case IT_CALL_HANDSHAKE:
      gnutls_bind_descriptor(&key);
      left = entered(ctx, cookie, 0, 0);
      break;
    default:
      left = entered(ctx, cookie, PT_REGS_PARM3(ctx), 0);
  }
  if (left && hits) hits->enters[IT_CALL_NONE] += 1;
  return 0;
}

SEC("uprobe")
int gnutls_enter(struct pt_regs *ctx) {
  hold_cpu();
  gnutls_dispatch(ctx);
  release_cpu();
  return 0;
}

SEC("uprobe")
int gnutls_exit(struct pt_regs *ctx) {
  hold_cpu();
  gnutls_leave(ctx);
  release_cpu();
  return 0;
}
