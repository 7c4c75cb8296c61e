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
#include "flow_start.h"
#include "strict_flow.h"

#define TLS_CHANGE_CIPHER 20
#define TLS_HANDSHAKE 22
#define TLS_APPLICATION_DATA 23

struct segment {
  struct address_pair addresses;
  u32 sequence;
  u32 payload;     /* offset in the packet */
  u32 length;
};

/* 1 when the packet is TCP with payload; all but its addresses. */
static __always_inline int parse(struct __sk_buff *skb, struct segment *out, u8 direction) {
  u8 ip[10];
  if (bpf_skb_load_bytes(skb, 0, ip, sizeof(ip))) return 0;
  int v4 = ip[0] >> 4 == 4;
  if ((v4 ? ip[9] : ip[6]) != IPPROTO_TCP) return 0;
  u32 header = v4 ? (ip[0] & 15) * 4 : 40;
  u32 total = skb->len;   /* the IP length is 0 in GSO packets above 64 KiB */
  u8 tcp[16];
  if (bpf_skb_load_bytes(skb, header, tcp, sizeof(tcp))) return 0;
  u16 source = tcp[0] << 8 | tcp[1], destination = tcp[2] << 8 | tcp[3];
  out->addresses.local_port = direction == IT_IN ? destination : source;
  out->addresses.remote_port = direction == IT_IN ? source : destination;
  out->sequence = (u32)tcp[4] << 24 | (u32)tcp[5] << 16 | (u32)tcp[6] << 8 | tcp[7];
  out->payload = header + (tcp[12] >> 4) * 4;
  if (total <= out->payload) return 0;
  out->length = total - out->payload;
  return 1;
}

/* Once a connection. */
static __always_inline int parse_addresses(struct __sk_buff *skb, struct segment *out, u8 direction) {
  u8 ip[40];
  u8 *from = direction == IT_IN ? out->addresses.remote : out->addresses.local;
  u8 *to = direction == IT_IN ? out->addresses.local : out->addresses.remote;
  if (bpf_skb_load_bytes(skb, 0, ip, 20)) return 0;
  if (ip[0] >> 4 == 4) {
    u32 address;
    __builtin_memcpy(&address, ip + 12, 4);
    v4_mapped(from, address);
    __builtin_memcpy(&address, ip + 16, 4);
    v4_mapped(to, address);
    return 1;
  }
  if (bpf_skb_load_bytes(skb, 0, ip, sizeof(ip))) return 0;
  __builtin_memcpy(from, ip + 8, 16);
  __builtin_memcpy(to, ip + 24, 16);
  return 1;
}

/* One part of a segment's payload into the data ring, in the smallest tier that holds it. */
#define COPY_TIER(TIER)                                                                   \
  if (n <= (TIER)) {                                                                      \
    struct data_event *event = bpf_ringbuf_reserve(&data_ring, sizeof(*event) + (TIER), 0);    \
    if (!event) return IT_LOSS_RING_FULL + 1;                                             \
    fill_data(event, 0, IT_FLOW_DATA, stream, direction, offset, n, sizeof(*event));      \
    u64 k = n - 1; /* 6.1's verifier follows this form only (capture.md section 4) */     \
    asm volatile("" : "+r"(k));                                                           \
    k &= (TIER)-1;                                                                        \
    k += 1;                                                                               \
    if (bpf_skb_load_bytes(skb, at, event + 1, k)) {                                      \
      bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);                                       \
      return IT_LOSS_FAULT + 1;                                                           \
    }                                                                                     \
    bpf_ringbuf_submit(event, data_flags(sizeof(*event) + (TIER)));                       \
    return 0;                                                                             \
  }

static __always_inline int copy_tiers(struct __sk_buff *skb, u64 stream, u8 direction, u64 offset,
                                      u32 at, u64 n) {
  COPY_TIER(512)
  COPY_TIER(1024)
  COPY_TIER(2048)
  COPY_TIER(4096)
  COPY_TIER(8192)
  COPY_TIER(16384)
  COPY_TIER(32768)   /* what a receiver's offload joins: in the next tier half of the ring would be air */
  COPY_TIER(65536)
  return IT_LOSS_FAULT + 1;
}

#define HOLD 2   /* in `way`, beside the direction: what finds no room is not lost but held back */

/* -> 1: held back. Global on purpose: the verifier of 6.1 then looks at it once, not once per round of the
 * loop. */
__noinline int flow_copy_part(struct __sk_buff *skb, u64 stream, u64 way, u64 offset, u64 at_and_n) {
  u64 n = (u32)at_and_n;
  u8 direction = way & 1;
  if (!n) return 0;
  int error = copy_tiers(skb, stream, direction, offset, at_and_n >> 32, n);
  if (error == IT_LOSS_RING_FULL + 1 && way & HOLD) return 1;
  if (error) lose(stream, 0, direction, offset, offset + n, error - 1);
  return 0;
}

#define PARTS_MAX 9   /* GSO packets reach 512 KiB (BIG TCP) */

/* -> how many bytes were recorded or told as lost; the rest is held back. */
static __always_inline u32 copy_payload(struct __sk_buff *skb, const struct segment *segment, u64 stream,
                                        u64 way, u64 offset) {
  u32 done = 0;
  for (int i = 0; i < PARTS_MAX; i++) {
    if (done >= segment->length) return done;
    u32 n = segment->length - done;
    if (n > IT_PART_MAX) n = IT_PART_MAX;
    if (flow_copy_part(skb, stream, way, offset + done, (u64)(segment->payload + done) << 32 | n)) return done;
    done += n;
  }
  if (done < segment->length)
    lose(stream, 0, way & 1, offset + done, offset + segment->length, IT_LOSS_FAULT);
  return segment->length;
}

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
