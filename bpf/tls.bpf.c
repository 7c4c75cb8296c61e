/* TLS libraries: plaintext at the return of SSL_read and SSL_write (and _ex, _ex2), exactly the
 * bytes that the call says it moved; never at entry, never the requested length.
 *
 * Why uprobes on the public functions: every user of libssl but BIO_f_ssl passes them, and they need
 * no offsets. What they cannot see: internal callers (openssl s_server), SSL_sendfile, kTLS.
 * The socket behind an object is found without looking at it: at entry of BIO_write the object's
 * first ciphertext is published as a fingerprint, and flow.bpf.c finds it on the wire. */
#include "emit.h"

#define KIND_READ 1
#define KIND_WRITE 2
#define KIND_OTHER 3    /* handshake: only its BIO_writes matter */

/* Joined small reads, by object: llama-server reads its headers one byte per SSL_read. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 8192);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct object_key);
  __type(value, struct small_reads);
} small SEC(".maps");

/* A zeroed value for a new entry of `small` (too large for the stack). */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __type(key, u32);
  __type(value, struct small_reads);
} small_blank SEC(".maps");

__u64 next_object = 1;

static __always_inline struct object_key key_of(u64 ssl) {
  struct object_key key = {.ssl = ssl, .tgid = bpf_get_current_pid_tgid() >> 32};
  return key;
}

static __always_inline struct tls_object *object_of(struct object_key *key) {
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, key);
  if (object) return object;
  struct tls_object fresh = {.id = __sync_fetch_and_add(&next_object, 1)};
  if (bpf_map_update_elem(&tls_objects, key, &fresh, BPF_NOEXIST)) {
    count_loss(IT_LOSS_MAP_FULL, 0);
    return 0;
  }
  struct tls_open_event *event = RESERVE_CONTROL(struct tls_open_event, IT_TLS_OPEN);
  if (event) {
    event->object = fresh.id;
    event->ssl = key->ssl;
    event->tgid = key->tgid;
    event->reserved = 0;
    event->cgroup_id = bpf_get_current_cgroup_id();
    bpf_ringbuf_submit(event, 0);
  }
  return bpf_map_lookup_elem(&tls_objects, key);
}

#define USER_TIER(TIER)                                                                  \
  if (n <= (TIER)) {                                                                     \
    struct data_event *event = bpf_ringbuf_reserve(&data_ring, sizeof(*event) + (TIER), 0);   \
    if (!event) return IT_LOSS_RING_FULL + 1;                                            \
    fill_data(event, bpf_get_current_pid_tgid(), IT_TLS_DATA, id, direction, offset, n,  \
              sizeof(*event));                                                           \
    at_most(n, TIER);                                                                    \
    if (bpf_probe_read_user(event + 1, n, (void *)from)) {                               \
      bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);                                      \
      return IT_LOSS_FAULT + 1;                                                          \
    }                                                                                    \
    bpf_ringbuf_submit(event, data_flags(sizeof(*event) + (TIER)));                      \
    return 0;                                                                            \
  }

static __noinline int copy_user(u64 id, u64 offset, u64 from, u64 n, u8 direction) {
  USER_TIER(256)
  USER_TIER(512)
  USER_TIER(1024)
  USER_TIER(1536)   /* an answer of 1 KiB with its head */
  USER_TIER(4096)
  USER_TIER(8192)
  USER_TIER(16384)
  USER_TIER(65536)
  return IT_LOSS_FAULT + 1;
}

struct copy_job {
  u64 id, offset, from, left;
  u64 direction;
};

static long copy_step(u32 index, struct copy_job *job) {
  if (!job->left) return 1;
  u64 n = job->left > IT_PART_MAX ? IT_PART_MAX : job->left;
  int error = copy_user(job->id, job->offset, job->from, n, job->direction);
  if (error) lose(job->id, 1, job->direction, job->offset, job->offset + n, error - 1);
  job->offset += n;
  job->from += n;
  job->left -= n;
  return 0;
}

/* Up to 128 GiB in parts; the stream position moves whatever happens to the copy. */
static __always_inline void emit_user(struct tls_object *object, u8 direction, u64 buffer, u64 n) {
  struct copy_job job = {.id = object->id,
                         .offset = object->offset[direction & 1],
                         .from = buffer,
                         .left = n,
                         .direction = direction};
  object->offset[direction & 1] += n;
  if (n <= IT_PART_MAX)
    copy_step(0, &job);
  else
    bpf_loop(1 << 21, copy_step, &job, 0);
}

/* Joined bytes leave before anything else of this object does. */
static __noinline int flush_small(struct small_reads *reads) {
  if (!reads) return 0;
  u64 n = reads->length;
  if (!n) return 0;
  at_most(n, IT_SMALL_BUFFER);
  struct data_event *event = bpf_ringbuf_reserve(&data_ring, sizeof(*event) + IT_SMALL_BUFFER, 0);
  if (event) {
    fill_data(event, bpf_get_current_pid_tgid(), IT_TLS_DATA, reads->object, IT_IN, reads->start, n,
              sizeof(*event));
    event->header.time_ns = reads->time_ns;
    bpf_probe_read_kernel(event + 1, n, reads->bytes);
    bpf_ringbuf_submit(event, data_flags(sizeof(*event) + IT_SMALL_BUFFER));
  } else {
    lose(reads->object, 1, IT_IN, reads->start, reads->start + n, IT_LOSS_RING_FULL);
  }
  reads->length = 0;
  return 0;
}

/* 1 when the bytes were joined; 0 when the caller must emit them itself. */
static __always_inline int join_small(struct object_key *key, struct tls_object *object, u64 buffer,
                                      u64 n) {
  struct small_reads *reads = bpf_map_lookup_elem(&small, key);
  if (!reads) {
    u32 zero = 0;
    struct small_reads *blank = bpf_map_lookup_elem(&small_blank, &zero);
    if (!blank || bpf_map_update_elem(&small, key, blank, BPF_ANY)) {
      count_loss(IT_LOSS_MAP_FULL, 0);   /* nothing is lost but the joining */
      return 0;
    }
    reads = bpf_map_lookup_elem(&small, key);
    if (!reads) return 0;
  }
  if (reads->object != object->id) flush_small(reads);   /* an older object's, never closed */
  if (reads->length == 0) {
    reads->start = object->offset[IT_IN];
    reads->start_again = reads->start;
    reads->object = object->id;
    reads->tgid = key->tgid;
    reads->time_ns = bpf_ktime_get_ns();
  }
  u64 at = reads->length;
  at &= IT_SMALL_BUFFER - 1;
  at_most(n, IT_SMALL_MAX);
  if (bpf_probe_read_user(reads->bytes + at, n, (void *)buffer)) {
    flush_small(reads);
    lose(object->id, 1, IT_IN, object->offset[IT_IN], object->offset[IT_IN] + n, IT_LOSS_FAULT);
    object->offset[IT_IN] += n;
    return 1;
  }
  object->offset[IT_IN] += n;
  reads->length = at + n;
  if (reads->length >= IT_SMALL_BUFFER - IT_SMALL_MAX) flush_small(reads);
  return 1;
}

/* The stack pointer behind the return of the call that the probed place belongs to: the same at its
 * entry and at its exit, wherever inside the function the two were put (the cookie says). */
static __always_inline u64 stack_of(struct pt_regs *ctx, u64 cookie) {
  return PT_REGS_SP(ctx) + IT_COOKIE_STACK(cookie);
}

static __always_inline int entered(struct pt_regs *ctx, u64 cookie, u32 kind, u64 length_pointer) {
  struct call_key key = {.id = bpf_get_current_pid_tgid()};
  if (!armed || !target_state(key.id >> 32)) return 0;
  struct call call = {.ssl = PT_REGS_PARM1(ctx),
                      .buffer = PT_REGS_PARM2(ctx),
                      .length_pointer = length_pointer,
                      .stack = stack_of(ctx, cookie),
                      .kind = kind};
  struct call *outer = bpf_map_lookup_elem(&calls, &key);
  if (outer && outer->ssl == call.ssl && outer->kind != KIND_OTHER) {
    if (outer->stack > call.stack) return 0;   /* the outermost wins; this return will not match */
    call.nested = outer->nested;               /* it was left without a return, or jumped here */
  } else if (outer) {
    struct call saved = *outer;
    struct call_key around = {.id = key.id, .level = 1};
    if (saved.nested) count_loss(IT_LOSS_NESTED, 0);   /* a third level: the second is forgotten */
    if (bpf_map_update_elem(&calls, &around, &saved, BPF_ANY))
      count_loss(IT_LOSS_MAP_FULL, 0);
    else
      call.nested = 1;
  }
  if (bpf_map_update_elem(&calls, &key, &call, BPF_ANY)) count_loss(IT_LOSS_MAP_FULL, 0);
  return 0;
}

/* Takes the call that returns out of the map: 0 when this is the return of an inner one. */
static __always_inline int returned(struct pt_regs *ctx, u64 cookie, struct call *out) {
  struct call_key key = {.id = bpf_get_current_pid_tgid()};
  struct call_key around = {.id = key.id, .level = 1};
  struct call *call = bpf_map_lookup_elem(&calls, &key);
  if (!call) return 0;
  u64 stack = stack_of(ctx, cookie);
  if (call->stack == stack) {
    *out = *call;
    struct call *outer = out->nested ? bpf_map_lookup_elem(&calls, &around) : 0;
    if (!outer) {
      bpf_map_delete_elem(&calls, &key);
      return 1;
    }
    struct call saved = *outer;
    saved.nested = 0;
    bpf_map_update_elem(&calls, &key, &saved, BPF_EXIST);
    bpf_map_delete_elem(&calls, &around);
    return 1;
  }
  struct call *outer = call->nested ? bpf_map_lookup_elem(&calls, &around) : 0;
  if (!outer || outer->stack != stack) return 0;
  *out = *outer;
  call->nested = 0;
  bpf_map_delete_elem(&calls, &around);
  return 1;
}

static __always_inline int leave(struct pt_regs *ctx) {
  struct call call;
  if (!returned(ctx, bpf_get_attach_cookie(ctx), &call)) return 0;
  int result = PT_REGS_RC(ctx);
  if (call.kind == KIND_OTHER || result <= 0) return 0;
  u64 n = result;
  if (call.length_pointer) {
    n = 0;
    if (bpf_probe_read_user(&n, sizeof(n), (void *)call.length_pointer)) {
      count_loss(IT_LOSS_FAULT, 0);
      return 0;
    }
  }
  if (!n) return 0;
  struct object_key key = key_of(call.ssl);
  struct tls_object *object = object_of(&key);
  if (!object) {
    count_loss(IT_LOSS_MAP_FULL, n);
    return 0;
  }
  if (call.kind == KIND_READ && n <= IT_SMALL_MAX && join_small(&key, object, call.buffer, n))
    return 0;
  flush_small(bpf_map_lookup_elem(&small, &key));
  emit_user(object, call.kind == KIND_READ ? IT_IN : IT_OUT, call.buffer, n);
  return 0;
}

static __always_inline int over(struct pt_regs *ctx, u16 type) {
  if (!armed) return 0;
  /* Whoever has an object here was a target when it came; it must go even if that has changed. */
  struct object_key key = key_of(PT_REGS_PARM1(ctx));
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, &key);
  if (!object) return 0;
  flush_small(bpf_map_lookup_elem(&small, &key));
  struct tls_close_event *event = RESERVE_CONTROL(struct tls_close_event, type);
  if (event) {
    event->object = object->id;
    event->end[IT_IN] = object->offset[IT_IN];
    event->end[IT_OUT] = object->offset[IT_OUT];
    bpf_ringbuf_submit(event, 0);
  }
  if (type == IT_TLS_CLOSE) {
    bpf_map_delete_elem(&small, &key);
    bpf_map_delete_elem(&tls_objects, &key);
  }
  return 0;
}

/* Ciphertext of an object whose socket is not known: if a TLS record starts here, its first bytes name
 * the object on the wire. */
static __always_inline int publish_record(struct object_key *key, struct tls_object *object, u64 from,
                                          int length) {
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
    if (length < 5 + (int)n) return 0;
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

/* BIO_write(BIO *, const void *data, int length), inside an SSL call. */
static __always_inline int publish(struct pt_regs *ctx) {
  struct call_key current = {.id = bpf_get_current_pid_tgid()};
  struct call *call = bpf_map_lookup_elem(&calls, &current);
  if (!call) return 0;
  struct object_key key = key_of(call->ssl);
  struct tls_object *object = object_of(&key);
  if (!object || object->bound) return 0;
  return publish_record(&key, object, PT_REGS_PARM2(ctx), PT_REGS_PARM3(ctx));
}

/* One program for every function, so that a library is one link (see uprobe_link.h): the cookie says
 * which function this is. A negative length moves nothing and need not pass the exit probe: it must
 * not leave its arguments. */
static __always_inline int dispatch(struct pt_regs *ctx) {
  u64 cookie = bpf_get_attach_cookie(ctx);
  u32 function = IT_COOKIE_FUNCTION(cookie);
  switch (function) {
    case IT_CALL_BIO_WRITE:
      return publish(ctx);
    case IT_CALL_READ:
    case IT_CALL_WRITE:
      if ((int)PT_REGS_PARM3(ctx) < 0) return 0;
      return entered(ctx, cookie, function == IT_CALL_READ ? KIND_READ : KIND_WRITE, 0);
    case IT_CALL_READ_DONE:
      return entered(ctx, cookie, KIND_READ, PT_REGS_PARM4(ctx));
    case IT_CALL_WRITE_DONE:
      return entered(ctx, cookie, KIND_WRITE, PT_REGS_PARM4(ctx));
    case IT_CALL_WRITE_FLAGS:
      return entered(ctx, cookie, KIND_WRITE, PT_REGS_PARM5(ctx));
    case IT_CALL_HANDSHAKE:
      return entered(ctx, cookie, KIND_OTHER, 0);
    case IT_CALL_FREE:       /* the address may be a new object from here on; SSL_clear is the same */
      return over(ctx, IT_TLS_CLOSE);
    case IT_CALL_SHUTDOWN:
      return over(ctx, IT_TLS_SHUTDOWN);
  }
  return 0;
}

SEC("uprobe")
int tls_enter(struct pt_regs *ctx) {
  hold_cpu();
  dispatch(ctx);
  release_cpu();
  return 0;
}

SEC("uprobe")
int tls_exit(struct pt_regs *ctx) {
  hold_cpu();
  leave(ctx);
  release_cpu();
  return 0;
}
