/* Flows: payload of plain TCP connections of targets, and the socket behind each TLS object.
 *
 * Why cgroup_skb: it sees every byte that leaves or enters a socket, whatever syscall moved it
 * (sendfile, io_uring), with its sequence number, so that a hole is exact; it works without kprobes
 * and under lockdown. It has no trustworthy current process: who owns the socket is in sock_owners
 * (socket.bpf.c). Of TLS flows it reads record headers only, until the object is known.
 *
 * What it cannot see: sockets outside the cgroup v2 hierarchy's root it is attached to; AF_UNIX;
 * payload that came with the handshake's last ACK arrives under the listener (orphan).
 *
 * The programs let every packet pass, but for back-pressure `strict` (strict_flow.h). */
#include "flow_wire.h"

/* Bytes of a PROXY header that the segment begins with, 0 = none, or not whole. */
__noinline int flow_proxy_header(struct __sk_buff *skb, u64 at_and_n) {
  u32 at = at_and_n >> 32, n = (u32)at_and_n;
  u8 head[16];
  if (n < sizeof(head) || bpf_skb_load_bytes(skb, at, head, sizeof(head))) return 0;
  if (head[0] == 'P' && head[1] == 'R' && head[2] == 'O' && head[3] == 'X' && head[4] == 'Y' && head[5] == ' ') {
    for (u32 i = 8; i < PROXY1_MOST; i++) {
      u8 byte = 0;
      if (i >= n || bpf_skb_load_bytes(skb, at + i, &byte, 1)) return 0;
      if (byte == '\n') return i + 1;
    }
    return 0;
  }
  if (head[0] != 13 || head[1] != 10 || head[2] != 13 || head[3] != 10 || head[4] != 0 || head[5] != 13 ||
      head[6] != 10 || head[7] != 'Q' || head[8] != 'U' || head[9] != 'I' || head[10] != 'T' || head[11] != 10)
    return 0;
  u32 whole = 16 + ((u32)head[14] << 8 | head[15]);
  return whole <= n ? whole : 0;
}

/* Bytes at the start of a segment that are plain: all of them, those before TLS begins, or none while they may be
 * the beginning of it. Global as flow_copy_part is. */
__noinline int flow_look(struct __sk_buff *skb, struct flow_state *flow, u64 offset, u64 at_and_n, u64 which) {
  if (!flow) return 0;
  u64 d = which & 1;
  u32 at = at_and_n >> 32, n = (u32)at_and_n, before = 0;
  u32 have = flow->held[d];
  flow->looks--;
  if (have && offset != flow->held_at[d] + have) {
    if (offset >= flow->held_at[d] && offset + n <= flow->held_at[d] + have) return 0;   /* repeated */
    give_back(flow, d);
    have = 0;
  }
  if (!have) {
    if (offset == 0) before = flow_proxy_header(skb, at_and_n);
    flow->held_at[d] = offset + before;
  }
  u8 known = have;
  for (u32 i = 0; i < HELLO_START; i++) {
    if (i < known) continue;
    u32 from = before + i - known;
    u8 byte = 0;
    if (from < n && bpf_skb_load_bytes(skb, at + from, &byte, 1)) return n;
    if (from >= n || !starts_hello(i, byte)) {
      flow->held[d] = from >= n ? i : known;
      /* The last look: nobody would give it back. */
      if (from < n || !flow->looks) give_back(flow, d);
      return from < n ? n : before;
    }
    flow->held_bytes[d][i & 7] = byte;
  }
  flow->held[d] = 0;
  if (d == IT_OUT) {
    __builtin_memcpy(flow->first, flow->held_bytes[d], 8);
    flow->first_have = known;
  }
  give_back(flow, !d);
  tls_begins(flow, d);
  return before;
}

/* Where the stream begins, taken once: later the socket changes under us, on another CPU, and its counters
 * and sequence numbers do not belong together (seen on 7.2: bytes at a wrong offset). */
static __always_inline void based(const struct bpf_tcp_sock *tcp, int active, struct flow_state *flow) {
  flow->origin[IT_IN] = tcp->bytes_received;
  flow->origin[IT_OUT] = tcp->bytes_acked ? tcp->bytes_acked - active : 0;   /* it counts our SYN */
  flow->base[IT_IN] = tcp->rcv_nxt - (u32)tcp->bytes_received;
  flow->base[IT_OUT] = tcp->snd_una - (u32)tcp->bytes_acked + active;
}

static __always_inline void opened(struct __sk_buff *skb, struct bpf_sock *sk,
                                   const struct sock_owner *owner, const struct segment *segment,
                                   struct flow_state *flow) {
  struct flow_open_event *event = RESERVE_CONTROL(struct flow_open_event, IT_FLOW_OPEN);
  if (!event) return;
  int active = !!(owner->flags & IT_SOCK_ACTIVE);
  event->cookie = flow->cookie;
  event->cgroup_id = bpf_sk_cgroup_id(sk);
  event->addresses = segment->addresses;
  event->tgid = owner->tgid;
  event->peer_tgid = 0;
  if (!active) {
    struct address_pair reversed = {};
    __builtin_memcpy(reversed.local, segment->addresses.remote, 16);
    __builtin_memcpy(reversed.remote, segment->addresses.local, 16);
    reversed.local_port = segment->addresses.remote_port;
    reversed.remote_port = segment->addresses.local_port;
    u32 *peer = bpf_map_lookup_elem(&connectors, &reversed);
    if (peer) event->peer_tgid = *peer;
  }
  event->base_in = flow->base[IT_IN];
  event->base_out = flow->base[IT_OUT];
  event->role = active ? IT_ROLE_CLIENT : IT_ROLE_SERVER;
  event->flags = (flow->tls ? IT_FLOW_TLS : 0) |
                 (owner->flags & IT_SOCK_EXISTED ? IT_FLOW_EXISTED : 0);
  __builtin_memset(event->reserved, 0, sizeof(event->reserved));
  bpf_ringbuf_submit(event, 0);
}

/* Payload that came with the handshake's last ACK: the filter runs under the listener, the
 * connection has no socket yet. Kept with its addresses; the daemon joins it. -> 0: held back */
static __always_inline int orphan(struct __sk_buff *skb, const struct segment *segment) {
  if (looks_like_tls(skb, segment)) return 1;   /* nothing of a ClientHello is needed */
  struct orphan_event *event = bpf_ringbuf_reserve(&data_ring, sizeof(*event) + 4096, 0);
  if (!event) {
    u64 *mark = strict_word(IT_STRICT_MARK);
    if (mark && may_hold(*mark, 0)) {   /* the connection opens with the next SYN-ACK, a second later */
      strict_count(IT_STRICT_REPEATS);
      return 0;
    }
    count_loss(IT_LOSS_RING_FULL, segment->length);
    return 1;
  }
  u64 n = segment->length;
  if (n > 4096) {
    count_loss(IT_LOSS_FAULT, n - 4096);
    n = 4096;
  }
  fill_data(&event->data, 0, IT_ORPHAN_DATA, 0, IT_IN, segment->sequence, n, sizeof(*event));
  event->addresses = segment->addresses;
  u64 k = n - 1;
  asm volatile("" : "+r"(k));
  k &= 4095;
  k += 1;
  if (bpf_skb_load_bytes(skb, segment->payload, event + 1, k)) {
    bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);
    count_loss(IT_LOSS_FAULT, n);
    return 1;
  }
  bpf_ringbuf_submit(event, data_flags(sizeof(*event) + 4096));
  return 1;
}

static __always_inline void advance(struct flow_state *flow, u8 direction, u64 to) {
  if (to > flow->end[direction & 1]) flow->end[direction & 1] = to;
}

#define PASS 1
#define DROP 0

/* Payload of a flow that is not TLS so far -> PASS, DROP (held back, to come again). What is left in `segment`
 * and `offset` is TLS. */
static __always_inline int plain(struct __sk_buff *skb, struct segment *segment, struct flow_state *flow,
                                 u8 direction, u64 *offset) {
  u64 *word = strict_word(IT_STRICT_MARK);
  u64 mark = word ? *word : 0;
  u64 *since = &flow->held_ns[direction & 1];
  u32 whole = segment->length, n = whole;
  int over = over_mark(mark, direction);
  int hold = may_hold(mark, *since);
  if (over && !hold) strict_count(IT_STRICT_UNPROTECTED);
  if (over && hold) {
    /* TCP sends in order and what was held back stays behind `end`: this was sent before, and recorded. */
    if (direction == IT_OUT && *offset + whole <= flow->end[IT_OUT]) {
      segment->length = 0;
      return PASS;
    }
    note_held(since);
    return DROP;
  }
  if (flow->looks) n = flow_look(skb, flow, *offset, (u64)segment->payload << 32 | whole, direction);
  if (n > whole) n = whole;
  if (n < whole) hold = 0;   /* flow_look took the rest, which can not come again */
  segment->length = n;
  u32 done = n ? copy_payload(skb, segment, flow->cookie, direction | (hold ? HOLD : 0), *offset) : 0;
  if (done < n) {
    if (done) advance(flow, direction, *offset + done);
    note_held(since);
    return DROP;
  }
  advance(flow, direction, *offset + whole);
  if (!over) *since = 0;
  segment->payload += n;
  segment->length = whole - n;
  *offset += n;
  return PASS;
}

static __always_inline int packet(struct __sk_buff *skb, u8 direction) {
  struct bpf_sock *sk = skb->sk;
  if (!armed() || !sk) return 1;
  sk = bpf_sk_fullsock(sk);
  if (!sk || sk->protocol != IPPROTO_TCP) return 1;
  struct sock_owner *owner = bpf_sk_storage_get(&sock_owners, sk, 0, 0);
  if (!owner || !(owner->flags & IT_SOCK_WATCH)) return 1;
  struct segment segment = {};
  if (!parse(skb, &segment, direction)) return 1;
  if (sk->state == IT_TCP_LISTEN) {
    if (direction == IT_IN && target_state(owner->tgid) && parse_addresses(skb, &segment, direction))
      return orphan(skb, &segment);
    return 1;
  }
  struct flow_state *flow = bpf_sk_storage_get(&flows, sk, 0, 0);
  if (!flow) {
    struct bpf_tcp_sock *tcp = bpf_tcp_sock(sk);
    if (!tcp || !parse_addresses(skb, &segment, direction)) return 1;
    flow = bpf_sk_storage_get(&flows, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
    if (!flow) {
      count_loss(IT_LOSS_MAP_FULL, segment.length);
      return 1;
    }
    flow->cookie = bpf_get_socket_cookie(skb);
    flow->ignored = !target_state(owner->tgid);
    based(tcp, !!(owner->flags & IT_SOCK_ACTIVE), flow);
    flow->tls = looks_like_tls(skb, &segment);
    flow->looks = flow->tls ? 0 : LOOKS;
    flow->wire = owner->flags & IT_SOCK_EXISTED ? IT_WIRE_LATE | IT_WIRE_LOST_IN | IT_WIRE_LOST_OUT : 0;
    if (!flow->ignored) opened(skb, sk, owner, &segment, flow);
  }
  if (flow->ignored) return 1;
  /* The sequence number as a position: the one within 2 GiB of what was seen. */
  u64 near = flow->end[direction & 1];
  if (!near) near = flow->origin[direction & 1];
  u64 offset = near + (long)(int)(segment.sequence - flow->base[direction & 1] - (u32)near);
  if ((long)offset < 0) return 1;   /* a keep-alive probe repeats the byte before the stream */
  if (flow->tls)
    advance(flow, direction, offset + segment.length);
  else if (plain(skb, &segment, flow, direction, &offset) == DROP)
    return 0;
  else if (!flow->tls || !segment.length)
    return 1;
  if (!flow->bound) {
    bind_by_descriptor(flow);
    if (direction == IT_OUT && !flow->bound) bind_by_fingerprint(skb, &segment, flow);
    if (direction == IT_OUT && !flow->bound && (segment.length < HELLO_FIRST || flow->first_have))
      bind_by_gathered(skb, &segment, flow, offset);
  }
  weigh(skb, &segment, flow, direction, offset);
  return 1;
}

SEC("cgroup_skb/ingress")
int flow_in(struct __sk_buff *skb) { return packet(skb, IT_IN); }

SEC("cgroup_skb/egress")
int flow_out(struct __sk_buff *skb) { return packet(skb, IT_OUT); }
