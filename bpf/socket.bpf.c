/* Sockets: who listens, who connects, who owns a flow.
 *
 * inet_sock_set_state fires in the process for listen() and connect(), which is when `current` can
 * be trusted; for SYN_RECV -> ESTABLISHED it fires in softirq and nothing is attributed there.
 * An accepted socket inherits its listener's owner (sock_owners is cloned by the kernel); which of
 * several workers took it is told by kprobes on tcp_recvmsg and tcp_sendmsg where the kernel has
 * them, else by the exits of accept and accept4. Failure loses the worker's pid, not the bytes: the
 * listener's owner stays. */
#include "flow_start.h"
#include "hold.h"
#include "tls_objects.h"

static __always_inline void addresses_of(struct address_pair *out, const struct sock *sk) {
  __builtin_memset(out, 0, sizeof(*out));
  if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET) {
    v4_mapped(out->local, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
    v4_mapped(out->remote, BPF_CORE_READ(sk, __sk_common.skc_daddr));
  } else {
    BPF_CORE_READ_INTO(out->local, sk, __sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8);
    BPF_CORE_READ_INTO(out->remote, sk, __sk_common.skc_v6_daddr.in6_u.u6_addr8);
  }
  out->local_port = BPF_CORE_READ(sk, __sk_common.skc_num);
  out->remote_port = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
}

static __always_inline void listening(struct sock *sk, u32 tgid) {
  u16 port = sk->__sk_common.skc_num;
  struct target_value *known = bpf_map_lookup_elem(&targets, &tgid);
  u32 state = known ? known->state : 0;
  if (bpf_map_lookup_elem(&target_ports, &port) && state != IT_TARGET_SELECTED) {
    struct target_value selected = {.state = IT_TARGET_SELECTED, .flags = known ? known->flags : 0};
    if (bpf_map_update_elem(&targets, &tgid, &selected, BPF_ANY)) count_loss(IT_LOSS_MAP_FULL, 0);
    state = IT_TARGET_SELECTED;
  }
  struct sock_owner owner = {.tgid = tgid, .flags = state ? IT_SOCK_WATCH : 0};
  struct sock_owner *stored =
      bpf_sk_storage_get(&sock_owners, sk, &owner, BPF_SK_STORAGE_GET_F_CREATE);
  if (!stored) count_loss(IT_LOSS_MAP_FULL, 0);
  if (stored && stored->flags & IT_SOCK_LISTENS) return;   /* the other program was here */
  /* What the daemon found out about the idle socket is of no use any more. */
  if (stored) stored->tgid = tgid, stored->flags = owner.flags | IT_SOCK_LISTENS;
  struct listen_event *event = RESERVE_CONTROL(struct listen_event, IT_LISTEN);
  if (!event) return;
  event->tgid = tgid;
  event->port = port;
  event->reserved = 0;
  bpf_ringbuf_submit(event, 0);
}

static __always_inline void connecting(struct sock *sk, u32 tgid) {
  struct sock_owner owner = {.tgid = tgid, .flags = IT_SOCK_ACTIVE};
  if (target_state(tgid)) owner.flags |= IT_SOCK_WATCH;
  bpf_sk_storage_delete(&flows, sk);   /* a socket that connects again is a new flow */
  struct sock_owner *stored =
      bpf_sk_storage_get(&sock_owners, sk, &owner, BPF_SK_STORAGE_GET_F_CREATE);
  if (!stored) count_loss(IT_LOSS_MAP_FULL, 0);
  /* The daemon may have looked at the socket while it was idle: it connects all the same. */
  if (stored) stored->tgid = tgid, stored->flags = owner.flags;
}

static __always_inline void connected(struct sock *sk) {
  struct sock_owner *owner = bpf_sk_storage_get(&sock_owners, sk, 0, 0);
  if (!owner) return;
  struct address_pair addresses;
  addresses_of(&addresses, sk);
  u32 tgid = owner->tgid;
  bpf_map_update_elem(&connectors, &addresses, &tgid, BPF_ANY);
}

/* Go's TLS objects end with their socket; others are freed by their library. */
static __always_inline void object_closed(struct sock *sk, struct flow_state *flow) {
  /* A reset leaves the socket in error until the process closes it. */
  int still_open = sk->sk_socket && sk->sk_err;
  if (flow && flow->object_id) {
    struct object_key key = flow->object;
    return go_socket_closed(&key, flow->object_id, still_open);
  }
  u64 cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
  struct socket_owner *waits = bpf_map_lookup_elem(&socket_objects, &cookie);
  if (!waits) return;   /* else: nothing was sent after it was found */
  struct socket_owner owner = *waits;
  bpf_map_delete_elem(&socket_objects, &cookie);
  go_socket_closed(&owner.key, owner.id, still_open);
}

static __always_inline void closed(struct sock *sk, int from) {
  struct flow_state *flow = bpf_sk_storage_get(&flows, sk, 0, 0);
  object_closed(sk, flow);
  if (!flow || flow->ignored || flow->closed) return;
  flow->closed = 1;
  if (flow->tls) tell_wire(flow);
  if (flow->held[IT_IN]) give_back(flow, IT_IN);
  if (flow->held[IT_OUT]) give_back(flow, IT_OUT);
  struct flow_close_event *event = RESERVE_CONTROL(struct flow_close_event, IT_FLOW_CLOSE);
  if (!event) return;
  event->cookie = flow->cookie;
  event->end[IT_IN] = flow->end[IT_IN];
  event->end[IT_OUT] = flow->end[IT_OUT];
  event->reset = from == IT_TCP_ESTABLISHED;
  __builtin_memset(event->reserved, 0, sizeof(event->reserved));
  bpf_ringbuf_submit(event, 0);
}

static __always_inline void changed(struct sock *sk, int from, int to) {
  u32 tgid = bpf_get_current_pid_tgid() >> 32;
  if (to == IT_TCP_LISTEN && from == IT_TCP_CLOSE) listening(sk, tgid);
  if (to == IT_TCP_SYN_SENT && from == IT_TCP_CLOSE) connecting(sk, tgid);
  if (to == IT_TCP_ESTABLISHED) {
    bpf_get_socket_cookie(sk);   /* fills skc_cookie, so that every program can read it */
    if (from == IT_TCP_SYN_SENT) connected(sk);
  }
  if (to == IT_TCP_CLOSE) closed(sk, from);
}

static __always_inline int state_changed(struct sock *sk, int from, int to) {
  if (sk->sk_protocol != IPPROTO_TCP || !armed()) return 0;
  hold_cpu();
  changed(sk, from, to);
  release_cpu();
  return 0;
}

/* Twice: while a program runs on a CPU, the kernel skips it for events that interrupt it there (a
 * softirq closes a connection while a task opens one; from 6.13 also another task). The two run one
 * after the other, so that one of them always sees the event; changed() does nothing the second time. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state, struct sock *sk, int from, int to) { return state_changed(sk, from, to); }

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(socket_state_again, struct sock *sk, int from, int to) { return state_changed(sk, from, to); }

/* --- which process uses a flow ------------------------------------------------------------- */

struct owner_key {
  u64 cookie;
  u32 tgid;
  u32 reserved;
};
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, struct owner_key);
  __type(value, u8);
} owners_told SEC(".maps");

static __always_inline int owns(const struct sock *sk) {
  if (!armed()) return 0;
  u64 id = bpf_get_current_pid_tgid();
  u32 tgid = id >> 32;
  if (!target_state(tgid)) return 0;
  press_back();   /* with kprobes: before each send and receive, so that plain flows are held, too */
  struct owner_key key = {.tgid = tgid};
  key.cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
  if (!key.cookie || bpf_map_lookup_elem(&owners_told, &key)) return 0;
  u8 one = 1;
  bpf_map_update_elem(&owners_told, &key, &one, BPF_ANY);
  struct flow_owner_event *event = RESERVE_CONTROL(struct flow_owner_event, IT_FLOW_OWNER);
  if (!event) return 0;
  event->cookie = key.cookie;
  event->tgid = tgid;
  event->tid = (u32)id;
  bpf_ringbuf_submit(event, 0);
  return 0;
}

SEC("kprobe/tcp_sendmsg")
int BPF_KPROBE(tcp_send_enter, struct sock *sk) { return owns(sk); }

SEC("kprobe/tcp_recvmsg")
int BPF_KPROBE(tcp_receive_enter, struct sock *sk) { return owns(sk); }

struct accept_exit_args {
  u64 common;
  long nr;
  long ret;
};

/* The TCP socket that a descriptor of the current process is now, else NULL. */
static __always_inline struct sock *socket_of_descriptor(long fd) {
  struct file *file = file_of_descriptor(fd);
  if (!file) return 0;
  if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK) return 0;
  struct socket *socket = BPF_CORE_READ(file, private_data);
  struct sock *sk = BPF_CORE_READ(socket, sk);
  u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);
  if (family != AF_INET && family != AF_INET6) return 0;
  return BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP ? sk : 0;
}

/* Its cookie, 0 = it is no TCP socket, or one that was never connected. */
static __noinline u64 cookie_of_descriptor(long fd) {
  struct sock *sk = socket_of_descriptor(fd);
  return sk ? BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) : 0;
}

static __always_inline int accepted(long fd) {
  if (!target_state(bpf_get_current_pid_tgid() >> 32)) return 0;
  struct sock *sk = socket_of_descriptor(fd);
  return sk ? owns(sk) : 0;
}

SEC("tracepoint/syscalls/sys_exit_accept4")
int accept4_exit(struct accept_exit_args *ctx) { return accepted(ctx->ret); }

SEC("tracepoint/syscalls/sys_exit_accept")
int accept_exit(struct accept_exit_args *ctx) { return accepted(ctx->ret); }
