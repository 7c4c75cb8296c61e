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
 * A Read that was entered before the probes were attached is seen by its RET alone: its arguments still
 * stand where it keeps them, above its return address, if its code shows that it does (go_code.h).
 * What it cannot see: a Write that was entered before, which is a loss of as many bytes, without a name;
 * and two goroutines that write one Conn at once without a lock are told in the order in which they return.
 * An object ends with (*Conn).Close, or when its process has closed the socket (go_socket_closed). */
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
  u64 since_ns;
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
  int distance = IT_GO_DISTANCE(cookie);
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
                         .direction = direction,
                         .since_ns = bpf_ktime_get_ns()};
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

/* `since_ns`: when the call began, for what is written: what answers it may be read before it returns. */
static __always_inline void go_emit(struct tls_object *object, u32 direction, u64 buffer, u64 n, u64 since_ns) {
  u64 age = direction == IT_OUT ? bpf_ktime_get_ns() - since_ns : 0;
  struct copy_job job = {.id = object->id, .from = buffer, .left = n, .direction = direction | age << 8};
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

static __always_inline struct tls_object *go_object_of(struct object_key *key) {
  struct tls_object *object = object_of(key);
  if (object) object->go = 1;
  return object;
}

static __always_inline struct library_hits *go_hits(u64 cookie) {
  u32 library = IT_GO_LIBRARY(cookie) & (IT_LIBRARIES - 1);
  return bpf_map_lookup_elem(&library_hits, &library);
}

/* A call whose entry was not seen: from the slots of its arguments, above the return address. */
static __always_inline int go_entered_before(struct pt_regs *ctx, u64 cookie) {
  long n = GO_RESULT1(ctx);
  u64 slots[3];   /* receiver; address and length of the buffer */
  if (IT_COOKIE_FUNCTION(cookie) != IT_CALL_GO_READ_SPILLED ||
      bpf_probe_read_user(slots, sizeof(slots), (void *)(PT_REGS_SP(ctx) + 8)) || n > (long)slots[2]) {
    if (n > 0) count_loss(IT_LOSS_ENTERED, n);
    return 0;
  }
  struct object_key conn = key_of(slots[0]);
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, &conn);
  if (n <= 0) {
    if (object && object->closing && !object->calls) go_end(&conn, object);
    return 0;
  }
  if (!object) object = go_object_of(&conn);
  if (!object) return 0;
  if (!object->bound && !object->cookie) go_bind(&conn, object, go_socket(ctx, conn.ssl, cookie));
  go_emit(object, IT_IN, slots[1], n, 0);
  return 0;
}

static __always_inline int go_left(struct pt_regs *ctx) {
  u64 cookie = bpf_get_attach_cookie(ctx);
  if (!takes(ctx) || !target_state(bpf_get_current_pid_tgid() >> 32)) return 0;
  struct go_call_key key = {};
  struct go_stack stack;
  if (!go_key(ctx, &key, &stack)) return 0;
  struct library_hits *hits = go_hits(cookie);
  if (hits) hits->exits[IT_COOKIE_FUNCTION(cookie) == IT_CALL_GO_WRITE_EXIT ? IT_CALL_WRITE : IT_CALL_READ] += 1;
  struct go_call *found = bpf_map_lookup_elem(&go_calls, &key);
  if (!found) return go_entered_before(ctx, cookie);
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
    object = go_object_of(&conn);   /* older than the capture */
    if (!object) return 0;
  }
  if (n > 0) go_bind(&conn, object, call.socket);
  if (n > 0 && (u64)n <= call.length)
    go_emit(object, call.direction, call.on_stack ? stack.high - call.buffer : call.buffer, n,
            call.since_ns);
  if (!call.id || __sync_fetch_and_add(&object->calls, -1) != 1) return 0;
  /* After a reset what came before it may still be read: until nothing is left. */
  if (object->closing == GO_CLOSED || (object->closing && n <= 0)) go_end(&conn, object);
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
  if (!object) object = go_object_of(&key);
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
  object->closing = GO_CLOSED;
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
  struct library_hits *hits = go_hits(cookie);
  switch (function) {
    case IT_CALL_GO_READ:
      if (hits) hits->enters[IT_CALL_READ] += 1;
      return go_entered(ctx, cookie, IT_IN);
    case IT_CALL_GO_WRITE:
      if (hits) hits->enters[IT_CALL_WRITE] += 1;
      return go_entered(ctx, cookie, IT_OUT);
    case IT_CALL_GO_CLIENT:
      if (hits) hits->enters[IT_CALL_HANDSHAKE] += 1;
      return go_handshake(ctx, cookie, IT_ROLE_CLIENT);
    case IT_CALL_GO_SERVER:
      if (hits) hits->enters[IT_CALL_HANDSHAKE] += 1;
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
