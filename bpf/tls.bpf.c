/* TLS libraries: plaintext of what SSL_read and SSL_write (and all that shares their inside) moved,
 * exactly the bytes that the call says, never the requested length; large writes record by record.
 *
 * One program for every function, so that a library is one link (userspace/capture/uprobe_link.h): the
 * cookie says which function this is, and where inside it. Which functions: userspace/capture/probe_plan.h.
 * The socket behind an object is found without looking at it: at BIO_write its first ciphertext is
 * published as a fingerprint, and flow.bpf.c finds it on the wire. */
#include "tls_objects.h"
#include "tls_calls.h"
#include "tls_copy.h"
#include "tls_bind.h"

/* The daemon looks here whether the probes of a library do anything. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, IT_LIBRARIES);
  __type(key, u32);
  __type(value, struct library_hits);
} library_hits SEC(".maps");

static __always_inline struct library_hits *hits_of(u64 cookie) {
  u32 library = IT_COOKIE_LIBRARY(cookie) & (IT_LIBRARIES - 1);
  return bpf_map_lookup_elem(&library_hits, &library);
}

/* The object of this call, for what `result` says that it moved. */
static __always_inline int moved(struct call *call, u64 n) {
  struct object_key key = key_of(call->ssl);
  struct tls_object *object = object_of(&key);
  if (!object) {
    count_loss(IT_LOSS_MAP_FULL, n);
    return 0;
  }
  if (call->kind == IT_CALL_READ || call->kind == IT_CALL_READ_DONE) {
    if (n <= IT_SMALL_MAX && join_small(&key, object, call->buffer, n)) return 0;
    flush_joined(object, &key);
    emit_at(object, IT_IN, 0, call->buffer, n);
    object->offset[IT_IN] += n;
    return 0;
  }
  flush_joined(object, &key);
  if (call->kind == IT_CALL_SENDFILE) {
    lose(object->id, 1, IT_OUT, object->offset[IT_OUT], object->offset[IT_OUT] + n, IT_LOSS_KTLS);
    object->offset[IT_OUT] += n;
    return 0;
  }
  write_accepted(object, call, n);
  return 0;
}

static __always_inline int over(u64 ssl, u32 function) {
  u16 type = function == IT_CALL_SHUTDOWN ? IT_TLS_SHUTDOWN : IT_TLS_CLOSE;
  /* Whoever has an object here was a target when it came; it must go even if that has changed. */
  struct object_key key = key_of(ssl);
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, &key);
  if (!object) return 0;
  u32 references = object->references;
  if (function == IT_CALL_FREE && references) {
    object->references = references - 1;
    return 0;
  }
  flush_joined(object, &key);
  struct tls_close_event *event = RESERVE_CONTROL(struct tls_close_event, type);
  if (event) {
    event->object = object->id;
    event->end[IT_IN] = object->offset[IT_IN];
    event->end[IT_OUT] = object->offset[IT_OUT] + object->ahead;
    bpf_ringbuf_submit(event, 0);
  }
  if (type == IT_TLS_CLOSE) {
    bpf_map_delete_elem(&small, &key);
    bpf_map_delete_elem(&tls_objects, &key);
  }
  if (function == IT_CALL_CLEAR && references && (object = object_of(&key))) object->references = references;
  return 0;
}

static __always_inline int leave(struct pt_regs *ctx) {
  u64 cookie = bpf_get_attach_cookie(ctx);
  /* What SSL_new returns is a new object, whatever became of the one that had this address. */
  if (IT_COOKIE_FUNCTION(cookie) == IT_CALL_NEW) return over(PT_REGS_RC(ctx), IT_CALL_NEW);
  struct call call;
  if (!returned(ctx, cookie, &call)) return 0;
  struct library_hits *hits = hits_of(cookie);
  if (hits) hits->exits[call.kind & (IT_CALLS - 1)] += 1;
  if (call.kind == IT_CALL_HANDSHAKE) return 0;
  if (call.kind == IT_CALL_SENDFILE) {
    long sent = PT_REGS_RC(ctx);
    return sent > 0 ? moved(&call, sent) : 0;
  }
  int result = PT_REGS_RC(ctx);
  if (result <= 0) return 0;
  u64 n = result;
  if (call.length_pointer) {
    n = 0;
    if (bpf_probe_read_user(&n, sizeof(n), (void *)call.length_pointer)) {
      count_loss(IT_LOSS_FAULT, 0);
      return 0;
    }
  }
  return n ? moved(&call, n) : 0;
}

/* All ciphertext of an SSL call passes here before anyone can send it, complete. */
static __always_inline int bio_write(struct pt_regs *ctx, u64 cookie) {
  struct call_key current = {.id = bpf_get_current_pid_tgid()};
  struct call *call = call_of(&current);
  if (!call) return 0;
  struct library_hits *hits = hits_of(cookie);
  if (hits) hits->enters[IT_CALL_BIO_WRITE] += 1;
  struct object_key key = key_of(call->ssl);
  struct tls_object *object = object_of(&key);
  if (!object) return 0;
  u64 from = PT_REGS_PARM2(ctx);
  long length = (int)PT_REGS_PARM3(ctx);
  if (length <= 0) return 0;
  if (!object->bound) publish(object, &key, from, length);
  if (call->length > RECORD_MAX &&
      (call->kind == IT_CALL_WRITE || call->kind == IT_CALL_WRITE_DONE || call->kind == IT_CALL_WRITE_FLAGS))
    write_record(object, &key, call, from, length);
  return 0;
}

/* Whether this program acts on this hit. Kernels run the newer of two programs first; where one did not,
 * the older would find the decision about the hit before, and one hit is seen twice when it changes,
 * but none is lost. */
static __always_inline int takes(struct pt_regs *ctx) {
  int act = armed();
  if (generation != shared.beside[0] && generation != shared.beside[1]) return act;
  struct claim_key key = {.id = bpf_get_current_pid_tgid(), .place = PT_REGS_IP(ctx)};
  if (generation == shared.beside[1]) {
    u32 decision = act ? CLAIM_TAKEN : CLAIM_LEFT;
    bpf_map_update_elem(&claims, &key, &decision, BPF_ANY);
    return act;
  }
  u32 *decision = bpf_map_lookup_elem(&claims, &key);
  if (!decision || !*decision) return act;
  act = *decision == CLAIM_LEFT;
  *decision = 0;
  return act;
}

static __always_inline int dispatch(struct pt_regs *ctx) {
  int left = 0;
  if (!takes(ctx)) return 0;
  u64 cookie = bpf_get_attach_cookie(ctx);
  u32 function = IT_COOKIE_FUNCTION(cookie);
  switch (function) {
    case IT_CALL_FREE:       /* the address may be a new object from here on */
    case IT_CALL_CLEAR:      /* the same address is one */
    case IT_CALL_SHUTDOWN:
      return over(PT_REGS_PARM1(ctx), function);
    case IT_CALL_BIO_WRITE:
      return bio_write(ctx, cookie);
  }
  if (!target_state(bpf_get_current_pid_tgid() >> 32)) return 0;
  struct library_hits *hits = hits_of(cookie);
  if (hits) hits->enters[function & (IT_CALLS - 1)] += 1;
  u64 length = PT_REGS_PARM3(ctx);
  switch (function) {
    case IT_CALL_UP_REF: {
      struct object_key key = key_of(PT_REGS_PARM1(ctx));
      struct tls_object *object = object_of(&key);
      if (object) object->references += 1;
      return 0;
    }
    case IT_CALL_READ:
    case IT_CALL_WRITE:
      /* A negative length moves nothing and need not pass the exit probe: it must not leave its arguments. */
      if ((int)length < 0) return 0;
      left = entered(ctx, cookie, (u32)length, 0);
      break;
    case IT_CALL_READ_DONE:
    case IT_CALL_WRITE_DONE:
      left = entered(ctx, cookie, length, PT_REGS_PARM4(ctx));
      break;
    case IT_CALL_WRITE_FLAGS:
      left = entered(ctx, cookie, length, PT_REGS_PARM5(ctx));
      break;
    case IT_CALL_HANDSHAKE:
    case IT_CALL_SENDFILE:
      left = entered(ctx, cookie, 0, 0);
      break;
  }
  if (left && hits) hits->enters[IT_CALL_NONE] += 1;
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
