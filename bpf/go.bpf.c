/* Go programs: plaintext of crypto/tls at the entry and at every RET of (*Conn).Read and (*Conn).Write,
 * exactly the n that the call returns. Included by tasks.bpf.c behind tls.bpf.c, whose objects it uses.
 *
 * Why RET instructions: a return probe replaces the return address, and Go's runtime, which walks and
 * moves stacks, ends the program over it. Why goroutines: a call may continue on another thread, so it
 * belongs to {process, g, distance from the stack's top}; growing the stack moves everything but that
 * distance, so it also tells nested calls (TLS inside TLS) apart.
 * The socket: net.Conn inside the tls.Conn -> *net.TCPConn -> netFD -> fd -> sock, at the first call. That
 * it is a *net.TCPConn is proven by its method table (the daemon put the address of its Read into the
 * cookie), that the fd was not closed and used again meanwhile by the closed bit of its fdMutex. Where
 * the program has another net.Conn there, the ciphertext that (*Conn).write gets is the fingerprint.
 * What it cannot see: a Read or Write that was entered before the probes were attached; and two
 * goroutines that write one Conn at once without a lock are told in the order in which they return. */
#include "emit.h"

/* Go's register ABI (1.17, arm64: 1.18): cmd/compile/abi-internal.md. A receiver is the first argument. */
#if defined(__TARGET_ARCH_x86)
#define GO_G(ctx) ((ctx)->r14)
#define GO_ARGUMENT1(ctx) ((ctx)->rax)
#define GO_ARGUMENT2(ctx) ((ctx)->rbx)
#define GO_ARGUMENT3(ctx) ((ctx)->rcx)
#define GO_RESULT1(ctx) ((ctx)->rax)
#elif defined(__TARGET_ARCH_arm64)
#define GO_REGISTER(ctx, n) (((const struct user_pt_regs *)(ctx))->regs[n])
#define GO_G(ctx) GO_REGISTER(ctx, 28)
#define GO_ARGUMENT1(ctx) GO_REGISTER(ctx, 0)
#define GO_ARGUMENT2(ctx) GO_REGISTER(ctx, 1)
#define GO_ARGUMENT3(ctx) GO_REGISTER(ctx, 2)
#define GO_RESULT1(ctx) GO_REGISTER(ctx, 0)
#endif

/* Layouts of the Go runtime and library; the same from 1.17 to 1.24. */
#define GO_G_STACK 0            /* g.stack: lo, hi */
#define GO_ITAB_READ (24 + 16)  /* itab.fun[2]: methods by name, of net.Conn: Close, LocalAddr, Read */
#define GO_FD_SYSFD 16          /* netFD.pfd.Sysfd, behind fdmu */
#define GO_FD_CLOSED 1          /* fdmu.state: mutexClosed, set before the descriptor is closed */

struct go_call {
  u64 conn;
  u64 id;        /* of the object, 0 = there was none */
  u64 socket;    /* cookie, looked up for an object that is not bound */
  u64 buffer;    /* address; or, on the goroutine's stack, distance from its top: it may move */
  u64 length;
  u32 on_stack;
  u32 direction;
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct go_call_key);
  __type(value, struct go_call);
} go_calls SEC(".maps");

struct go_stack {
  u64 low, high;
};

static __always_inline int go_key(struct pt_regs *ctx, struct go_call_key *key, struct go_stack *stack) {
  key->g = GO_G(ctx);
  key->tgid = bpf_get_current_pid_tgid() >> 32;
  if (bpf_probe_read_user(stack, sizeof(*stack), (void *)(key->g + GO_G_STACK))) {
    count_loss(IT_LOSS_FAULT, 0);
    return 0;
  }
  key->depth = stack->high - PT_REGS_SP(ctx);
  return 1;
}

/* The end of an object; the first of two that find it ended says so. */
static __always_inline void go_end(struct object_key *key, struct tls_object *object) {
  struct tls_object last = *object;
  if (bpf_map_delete_elem(&tls_objects, key)) return;
  struct tls_close_event *event = RESERVE_CONTROL(struct tls_close_event, IT_TLS_CLOSE);
  if (!event) return;
  event->object = last.id;
  event->end[IT_IN] = last.offset[IT_IN];
  event->end[IT_OUT] = last.offset[IT_OUT];
  bpf_ringbuf_submit(event, 0);
}

/* Cookie of the socket behind a tls.Conn, 0 when that is not proven. `read_method`: the address of
 * net.(*TCPConn).Read in this process, 0 when the program has none. */
static __noinline u64 go_cookie(u64 conn, u64 read_method) {
  u64 inner[2], method = 0, descriptor = 0, state = GO_FD_CLOSED;
  long number = -1;
  if (!read_method) return 0;
  if (bpf_probe_read_user(inner, sizeof(inner), (void *)conn)) return 0;   /* itab, *net.TCPConn */
  if (bpf_probe_read_user(&method, sizeof(method), (void *)(inner[0] + GO_ITAB_READ))) return 0;
  if (method != read_method) return 0;
  if (bpf_probe_read_user(&descriptor, sizeof(descriptor), (void *)inner[1])) return 0;
  if (bpf_probe_read_user(&number, sizeof(number), (void *)(descriptor + GO_FD_SYSFD))) return 0;
  u64 cookie = cookie_of_descriptor(number);
  if (bpf_probe_read_user(&state, sizeof(state), (void *)descriptor) || state & GO_FD_CLOSED) return 0;
  return cookie;
}

static __always_inline u64 go_socket(struct pt_regs *ctx, u64 conn, u64 cookie) {
  int distance = IT_COOKIE_LIBRARY(cookie);
  return go_cookie(conn, distance ? PT_REGS_IP(ctx) + (long)distance : 0);
}

static __always_inline void go_bind(struct object_key *key, struct tls_object *object, u64 socket) {
  if (!socket || object->bound) return;
  object->cookie = socket;
  struct socket_owner owner = {.key = *key, .id = object->id, .method = IT_BIND_GO_FD};
  bpf_map_update_elem(&socket_objects, &socket, &owner, BPF_ANY);
}

/* Makes no object: a Conn that was closed is read once more, for its error. It is a handshake, or bytes
 * that moved, what makes one. */
static __always_inline int go_entered(struct pt_regs *ctx, u64 cookie, u32 direction) {
  struct go_call_key key = {};
  struct go_stack stack;
  if (!go_key(ctx, &key, &stack)) return 0;
  struct object_key conn = key_of(GO_ARGUMENT1(ctx));
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, &conn);
  struct go_call call = {.conn = conn.ssl,
                         .buffer = GO_ARGUMENT2(ctx),
                         .length = GO_ARGUMENT3(ctx),
                         .direction = direction};
  if (object) call.id = object->id;
  if (!object || (!object->bound && !object->cookie)) call.socket = go_socket(ctx, conn.ssl, cookie);
  if (call.buffer >= stack.low && call.buffer < stack.high) {
    call.on_stack = 1;
    call.buffer = stack.high - call.buffer;
  }
  struct go_call *old = bpf_map_lookup_elem(&go_calls, &key);
  u64 before_id = old ? old->id : 0;   /* the same call, again from its beginning with a larger stack; */
  if (before_id && before_id != call.id) {   /* or one that was left by a panic */
    struct object_key before = key_of(old->conn);
    struct tls_object *other = bpf_map_lookup_elem(&tls_objects, &before);
    if (other && other->id == before_id) __sync_fetch_and_add(&other->calls, -1);
  }
  if (bpf_map_update_elem(&go_calls, &key, &call, BPF_ANY)) {
    count_loss(IT_LOSS_MAP_FULL, 0);
    bpf_map_delete_elem(&go_calls, &key);
    if (object && before_id == call.id) __sync_fetch_and_add(&object->calls, -1);
  } else if (object && before_id != call.id) {
    __sync_fetch_and_add(&object->calls, 1);
  }
  return 0;
}

static __always_inline void go_emit(struct tls_object *object, u32 direction, u64 buffer, u64 n) {
  struct copy_job job = {.id = object->id, .from = buffer, .left = n, .direction = direction};
  /* Readers and writers of a Conn run at the same time. */
  if (direction == IT_IN)
    job.offset = __sync_fetch_and_add(&object->offset[IT_IN], n);
  else
    job.offset = __sync_fetch_and_add(&object->offset[IT_OUT], n);
  if (n <= IT_PART_MAX)
    copy_step(0, &job);
  else
    bpf_loop(1 << 21, copy_step, &job, 0);
  press_back();
}

static __always_inline int go_left(struct pt_regs *ctx) {
  if (!armed() || !target_state(bpf_get_current_pid_tgid() >> 32)) return 0;
  struct go_call_key key = {};
  struct go_stack stack;
  if (!go_key(ctx, &key, &stack)) return 0;
  struct go_call *found = bpf_map_lookup_elem(&go_calls, &key);
  if (!found) return 0;
  struct go_call call = *found;
  bpf_map_delete_elem(&go_calls, &key);
  long n = GO_RESULT1(ctx);
  struct object_key conn = key_of(call.conn);
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, &conn);
  if (call.id && (!object || object->id != call.id)) {   /* ended by a new connection at its address */
    if (n > 0) count_loss(IT_LOSS_MAP_FULL, n);
    return 0;
  }
  if (!object) {
    if (n <= 0) return 0;
    object = object_of(&conn);   /* older than the capture */
    if (!object) return 0;
  }
  if (n > 0) go_bind(&conn, object, call.socket);
  if (n > 0 && (u64)n <= call.length)
    go_emit(object, call.direction, call.on_stack ? stack.high - call.buffer : call.buffer, n);
  if (call.id && __sync_fetch_and_add(&object->calls, -1) == 1 && object->closing) go_end(&conn, object);
  return 0;
}

/* A handshake is the beginning of a connection, whatever was at this address; but for a renegotiation,
 * which comes inside a Read or finds the same socket. */
static __always_inline int go_handshake(struct pt_regs *ctx, u64 cookie, u8 role) {
  struct object_key key = key_of(GO_ARGUMENT1(ctx));
  u64 socket = go_socket(ctx, key.ssl, cookie);
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, &key);
  if (object) {
    int used = object->offset[IT_IN] || object->offset[IT_OUT];
    int same = socket && socket == object->cookie;
    int other = socket && object->cookie && !same;
    if (used && (same || (object->calls && !other))) return 0;
    /* Passed twice when the stack grows; or begun by the Read or Write around it. */
    int fresh = !used && !object->bound && !other;
    if (!fresh && !same) {
      go_end(&key, object);
      object = 0;
    }
  }
  if (!object) object = object_of(&key);
  if (!object) return 0;
  object->hello = 1;
  object->role = role;
  go_bind(&key, object, socket);
  return 0;
}

/* Calls in flight still return: the last of them ends the object. */
static __always_inline int go_closed(struct pt_regs *ctx) {
  struct object_key key = key_of(GO_ARGUMENT1(ctx));
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, &key);
  if (!object) return 0;
  __sync_fetch_and_add(&object->closing, 1);
  if (!object->calls) go_end(&key, object);
  return 0;
}

/* (*Conn).write(ciphertext): what BIO_write is to OpenSSL, for connections that are no *net.TCPConn. */
static __always_inline int go_ciphertext(struct pt_regs *ctx) {
  struct object_key key = key_of(GO_ARGUMENT1(ctx));
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, &key);
  if (!object || object->bound || object->cookie) return 0;
  return publish(object, &key, GO_ARGUMENT2(ctx), GO_ARGUMENT3(ctx));
}

static __always_inline int go_dispatch(struct pt_regs *ctx) {
  u64 cookie = bpf_get_attach_cookie(ctx);
  u32 function = IT_COOKIE_FUNCTION(cookie);
  if (!takes(ctx)) return 0;
  if (function == IT_CALL_GO_CLOSE) return go_closed(ctx);   /* also of one that is no target any more */
  if (!target_state(bpf_get_current_pid_tgid() >> 32)) return 0;
  switch (function) {
    case IT_CALL_GO_READ:
      return go_entered(ctx, cookie, IT_IN);
    case IT_CALL_GO_WRITE:
      return go_entered(ctx, cookie, IT_OUT);
    case IT_CALL_GO_CLIENT:
      return go_handshake(ctx, cookie, IT_ROLE_CLIENT);
    case IT_CALL_GO_SERVER:
      return go_handshake(ctx, cookie, IT_ROLE_SERVER);
    case IT_CALL_GO_CIPHERTEXT:
      return go_ciphertext(ctx);
  }
  return 0;
}

SEC("uprobe")
int go_enter(struct pt_regs *ctx) {
  hold_cpu();
  go_dispatch(ctx);
  release_cpu();
  return 0;
}

SEC("uprobe")
int go_exit(struct pt_regs *ctx) {
  hold_cpu();
  go_left(ctx);
  release_cpu();
  return 0;
}
