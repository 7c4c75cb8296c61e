/* What kernel programs and daemon say to each other: C for bpf/, C++ (namespace infertrail::abi) for
 * userspace/capture. Fixed-width fields, explicit padding, no pointers, no bitfields; every size is
 * asserted. Times are CLOCK_MONOTONIC nanoseconds (bpf_ktime_get_ns) unless named boot: then
 * CLOCK_BOOTTIME as in /proc/PID/stat field 22.
 *
 * Two rings. `data` carries plaintext (data_event); `control` carries everything that says whose it
 * is (the other structs), so that bulk can never starve identity. Within one ring the order of
 * records is the order in which they happened; between rings there is no order but the stream ids.
 */
#ifndef INFERTRAIL_EVENT_H
#define INFERTRAIL_EVENT_H

#ifdef __cplusplus
#include <cstdint>
namespace infertrail::abi {
using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
#else
#include <linux/types.h>
typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;
#endif

#define IT_ABI_VERSION 1

/* Record types, in event_header.type. */
#define IT_TLS_DATA 1      /* data ring: plaintext of a TLS object */
#define IT_FLOW_DATA 2     /* data ring: payload of a plain TCP flow */
#define IT_ORPHAN_DATA 3   /* data ring: payload that came with the handshake's last ACK: orphan_event first */
#define IT_EXEC 16         /* control ring from here on */
#define IT_FORK 17
#define IT_EXIT 18
#define IT_MAPPED 19       /* a target mapped a file executable: look for TLS libraries */
#define IT_LISTEN 20
#define IT_FLOW_OPEN 21
#define IT_FLOW_CLOSE 22
#define IT_FLOW_OWNER 23
#define IT_TLS_OPEN 24
#define IT_TLS_CLOSE 25
#define IT_TLS_SHUTDOWN 26
#define IT_BIND 27
#define IT_LOSS 28
#define IT_FLOW_TLS_BEGINS 29   /* a flow that was told as plain is TLS from here on */
#define IT_FLOW_WIRE 40    /* what a TLS flow has carried so far: see flow_wire_event */

/* Which way the bytes went, seen from the monitored process. */
#define IT_IN 0    /* read / received */
#define IT_OUT 1   /* written / sent */

#define IT_ROLE_UNKNOWN 0
#define IT_ROLE_CLIENT 1
#define IT_ROLE_SERVER 2

/* targets: value states */
#define IT_TARGET_PENDING 1    /* just executed; the daemon has not decided yet: captured, then kept or dropped */
#define IT_TARGET_SELECTED 2
/* targets: value flags */
#define IT_TARGET_STOPS 1      /* stopped while its files are not probed yet (bpf/hold.h); children inherit it */

/* sock_owner.flags */
#define IT_SOCK_WATCH 1     /* owner is or was a target when this was set */
#define IT_SOCK_ACTIVE 2    /* this end connected */
#define IT_SOCK_EXISTED 4   /* found by the daemon after it was established */
#define IT_SOCK_LISTENS 8   /* its listen() was told; accepted sockets inherit it */

/* flow_open_event.flags / bind_event.flags */
#define IT_FLOW_TLS 1          /* first payload looks like a TLS record */
#define IT_FLOW_EXISTED 2      /* older than the capture */
#define IT_BIND_HELLO 1        /* the handshake's first message was seen: nothing came before */

/* bind_event.method: how the socket of a TLS object was found */
#define IT_BIND_FP_EGRESS 0    /* its ciphertext, found on the wire */
#define IT_BIND_GO_FD 1        /* the file descriptor in Go's tls.Conn */
#define IT_BIND_SET_FD 2       /* the file descriptor that the program gave to the library */

/* loss_event.reason and index into the losses map */
#define IT_LOSS_RING_FULL 0     /* data ring had no room */
#define IT_LOSS_FAULT 1         /* target memory or packet could not be read */
#define IT_LOSS_CONTROL_FULL 2  /* control ring had no room: identity is late or missing */
#define IT_LOSS_MAP_FULL 3      /* a bookkeeping map had no room */
#define IT_LOSS_NESTED 4        /* an SSL call inside another one on the same thread */
#define IT_LOSS_KTLS 5          /* the kernel encrypted a file (SSL_sendfile): no plaintext passed the process */
#define IT_LOSS_ENTERED 6       /* a call that was entered before its probes: its arguments are not known */
#define IT_LOSS_KINDS 7

/* Cookie of a TLS uprobe: which function it stands in, how far its stack pointer is from the one
 * behind the return of that function, and the library (a number that the daemon gives). */
#define IT_COOKIE(function, stack, library) \
  ((u64)(stack) | (u64)(function) << 16 | (u64)(library) << 32)
#define IT_COOKIE_STACK(cookie) ((cookie) & 0xffff)
#define IT_COOKIE_FUNCTION(cookie) ((cookie) >> 16 & 0xff)
#define IT_COOKIE_LIBRARY(cookie) ((cookie) >> 32)

#define IT_CALL_NONE 0          /* counted here: calls that had not returned when the thread made the next */
#define IT_CALL_READ 1          /* int f(SSL *, void *, int n), bytes = its result */
#define IT_CALL_READ_DONE 2     /* int f(SSL *, void *, size_t n, size_t *done) */
#define IT_CALL_WRITE 3
#define IT_CALL_WRITE_DONE 4
#define IT_CALL_WRITE_FLAGS 5   /* int f(SSL *, const void *, size_t n, uint64_t flags, size_t *done) */
#define IT_CALL_HANDSHAKE 6
#define IT_CALL_FREE 7
#define IT_CALL_SHUTDOWN 8
#define IT_CALL_BIO_WRITE 9     /* f(BIO *, const void *, n) */
#define IT_CALL_NEW 10          /* SSL *f(SSL_CTX *), at its return only */
#define IT_CALL_UP_REF 11       /* int f(SSL *) */
#define IT_CALL_SENDFILE 12     /* ssize_t f(SSL *, int, off_t, size_t n, int) */
#define IT_CALL_CLEAR 13        /* int f(SSL *) */
#define IT_CALL_UNCORK 14       /* gnutls_record_uncork: what it sends was told when it was given to the library */
#define IT_CALL_READ_PACKET 15  /* ssize_t gnutls_record_recv_packet(session, gnutls_packet_t *) */
#define IT_CALLS 16
#define IT_LIBRARIES 1024       /* libraries whose probes are counted; more share counters */
/* Go: the cookie's upper half is the distance from the probe to net.(*TCPConn).Read, 0 = none; its lowest
 * 16 bits are the library. */
#define IT_GO_COOKIE(function, library, distance) \
  ((u64)(library) | (u64)(function) << 16 | (u64)(distance) << 32)
#define IT_GO_LIBRARY(cookie) ((cookie) & 0xffff)
#define IT_GO_DISTANCE(cookie) ((int)((cookie) >> 32))
#define IT_CALL_GO_READ 32
#define IT_CALL_GO_WRITE 33
#define IT_CALL_GO_CLIENT 34       /* handshakes */
#define IT_CALL_GO_SERVER 35
#define IT_CALL_GO_CIPHERTEXT 36   /* (*Conn).write(ciphertext) */
#define IT_CALL_GO_CLOSE 37
#define IT_CALL_GO_READ_EXIT 38    /* a RET */
#define IT_CALL_GO_WRITE_EXIT 39
#define IT_CALL_GO_READ_SPILLED 40 /* a RET of a Read that keeps its arguments above the return address */
/* GnuTLS, where it has no number above (gnutls.bpf.c). */
#define IT_CALL_GNUTLS_INIT 48         /* int f(gnutls_session_t *, unsigned) */
#define IT_CALL_GNUTLS_PUSH 49         /* the call of a push function: f(transport, const void *, size_t) */
#define IT_CALL_GNUTLS_PUSH_VECTOR 50  /* the same with vectors: f(transport, const giovec_t *, int) */
#define IT_CALL_GNUTLS_SET_FD 51       /* f(session, transport) */
#define IT_CALL_GNUTLS_SET_FD2 52      /* f(session, transport to receive from, transport to send to) */
#define IT_CALL_GNUTLS_SET_PUSH 53     /* f(session, push function) */
#define IT_CALL_GNUTLS_PACKET_GET 54   /* void f(gnutls_packet_t, gnutls_datum_t *, …) */
#define IT_CALL_GNUTLS_PACKET_END 55   /* void f(gnutls_packet_t) */

#define IT_ARGS_MAX 1024
#define IT_NAME_MAX 256
#define IT_SMALL_MAX 64        /* reads up to this many bytes are joined */
#define IT_SMALL_BUFFER 2048
#define IT_PART_MAX 65536      /* payload of one data record at most */

struct event_header {
  u16 type;
  u16 reserved;
  u32 size;     /* bytes of the whole record that are meaningful */
  u64 time_ns;
};

/* 16-byte address, IPv4 as ::ffff:a.b.c.d; ports in host order. local = the monitored process. */
struct address_pair {
  u8 local[16];
  u8 remote[16];
  u16 local_port;
  u16 remote_port;
  u32 reserved;
};

struct data_event {
  struct event_header header;
  u64 stream;      /* TLS object id, or socket cookie */
  u64 offset;      /* position of the first byte in this direction's stream */
  u32 length;      /* payload bytes that follow */
  u32 tgid;
  u32 tid;
  u8 direction;    /* IT_IN, IT_OUT */
  u8 reserved[3];
  /* payload */
};

struct orphan_event {
  struct data_event data;   /* stream = 0, offset = raw TCP sequence number */
  struct address_pair addresses;
  /* payload */
};

struct exec_event {
  struct event_header header;
  u32 tgid;
  u32 ppid;
  u32 uid;
  u32 args_length;
  u64 start_boot_ns;
  u64 cgroup_id;
  u8 state;             /* IT_TARGET_* it has now, 0 = not a target */
  u8 reserved[7];
  u8 comm[16];
  u8 filename[IT_NAME_MAX];
  u8 args[IT_ARGS_MAX];   /* NUL-separated */
};

struct fork_event {
  struct event_header header;
  u32 parent;
  u32 child;
  u64 start_boot_ns;
};

struct process_event {   /* IT_EXIT, IT_MAPPED */
  struct event_header header;
  u32 tgid;
  u32 reserved;
};

struct listen_event {
  struct event_header header;
  u32 tgid;
  u16 port;
  u16 reserved;
};

struct flow_open_event {
  struct event_header header;
  u64 cookie;
  u64 cgroup_id;
  struct address_pair addresses;
  u32 tgid;            /* owner of the socket or of its listener */
  u32 peer_tgid;       /* process at the other end when it is on this host; 0 = not known */
  u32 base_in;         /* TCP sequence number of stream offset 0, per direction */
  u32 base_out;
  u8 role;             /* IT_ROLE_* of the monitored side */
  u8 flags;
  u8 reserved[6];
};

struct flow_close_event {
  struct event_header header;
  u64 cookie;
  u64 end[2];          /* stream offset after the last byte seen, by direction */
  u8 reset;            /* 1: torn down by RST or abort, not by FIN from both ends */
  u8 reserved[7];
};

struct flow_tls_event {
  struct event_header header;
  u64 cookie;
  u64 from[2];         /* stream offset of the first byte of TLS, by direction */
};

struct flow_owner_event {
  struct event_header header;
  u64 cookie;
  u32 tgid;
  u32 tid;
};

struct tls_open_event {
  struct event_header header;
  u64 object;
  u64 ssl;             /* address in the process, for people */
  u32 tgid;
  u32 reserved;
  u64 cgroup_id;
};

struct tls_close_event {   /* IT_TLS_CLOSE, IT_TLS_SHUTDOWN */
  struct event_header header;
  u64 object;
  u64 end[2];
};

struct bind_event {
  struct event_header header;
  u64 object;
  u64 cookie;
  u8 role;
  u8 flags;
  u8 method;
  u8 reserved[5];
};

struct loss_event {
  struct event_header header;
  u64 stream;
  u64 from;
  u64 to;
  u8 is_tls;
  u8 direction;
  u8 reason;
  u8 reserved[5];
};

/* Ciphertext of a TLS flow as cgroup_skb saw it, to be held against the plaintext of its object. Sent at
 * each of the first records of application data, when the bytes have doubled, at most a second after
 * the last one while bytes move, and at the close. */
struct flow_wire_event {
  struct event_header header;
  u64 cookie;
  u64 end[2];          /* stream offset after the last byte seen, by direction */
  u64 sealed[2];       /* bytes in bodies of application-data records (type 23), without their headers */
  u32 records[2];      /* such records with a body of at least IT_SEALED_MIN bytes */
  u64 skipped[2];      /* bytes whose records were not counted: they came out of order */
  u8 state;            /* IT_WIRE_* */
  u8 reserved[7];
};
#define IT_SEALED_MIN 25        /* an alert of TLS 1.3 has 19, a key update 22 */
#define IT_WIRE_LOST_IN 1       /* record borders of that direction are not known just now */
#define IT_WIRE_LOST_OUT 2
#define IT_WIRE_OLD_TLS 4       /* TLS 1.2 or older: nothing of the handshake is application data */
#define IT_WIRE_LATE 8          /* the flow was not seen from its beginning */

/* --- map keys and values that the daemon reads or writes --- */

/* One for all generations of programs that use the same maps. A new daemon attaches its own programs,
 * lets them act beside the old ones for a moment (an event that is under way is seen by either, and
 * what two see twice has the same stream and offset), then alone.
 * The first 8 bytes have this meaning in every version: a daemon that cannot use the maps of an older
 * one sets them to 0. */
struct shared {
  u32 acting[2];       /* generations whose programs act; 0: none */
  u32 take_new;        /* 1: every process that executes is captured until decided */
  u32 data_wakeup;     /* wake the reader above this many waiting bytes */
  u64 next_object;     /* id of the next TLS object */
  /* The daemon's, for the next one. */
  u64 alive_ns;        /* UNIX time at which it last was; every second */
  u32 pid;
  u32 ending;          /* IT_END_* */
  u64 missed_told;     /* events that its own programs missed and that are in the trail */
  u32 beside[2];       /* the older and the newer generation while both may act; else 0 */
};
#define IT_END_KILLED 0        /* still running, or killed */
#define IT_END_HANDED_OVER 1   /* ended by itself and left the capture to the next daemon */

/* A target as the daemon knows it, so that the next one knows it, too: also when it has ended and
 * what it did waits in the ring. Programs do not read it. */
#define IT_SELECTOR_MAX 128
struct target_note {
  u64 start_boot_ns;
  u32 ppid;
  u32 uid;
  u32 args_length;
  u32 reserved;
  u8 selector[IT_SELECTOR_MAX];   /* why it was chosen; NUL-terminated, as the next two */
  u8 comm[16];
  u8 exe[IT_NAME_MAX];
  u8 cgroup[IT_NAME_MAX];
  u8 args[IT_ARGS_MAX];           /* NUL-separated */
};

/* A file whose functions are probed, and a selector that was added at run time: for the next daemon. */
struct library_key {
  u64 device;
  u64 inode;
};
struct library_note {
  u8 path[IT_NAME_MAX];
};
struct selector_key {
  u8 text[IT_SELECTOR_MAX];
};

/* Words of the map `strict`: back-pressure (capture/strict.h). */
#define IT_STRICT_MARK 0        /* stop producers above this many waiting bytes; 0: never */
#define IT_STRICT_HEARTBEAT 1   /* CLOCK_MONOTONIC ns at which the daemon last was alive */
#define IT_STRICT_STOPS 2       /* processes stopped, since load */
#define IT_STRICT_UNPROTECTED 3 /* times that nobody was held: the heartbeat was stale, or a flow was held too long */
#define IT_STRICT_REFUSED 4     /* times that a producer was not stopped: pid 1, traced, no room */
#define IT_STRICT_SELF 5        /* the daemon: never stopped */
#define IT_STRICT_HOLD_NS 10000000000ull   /* one direction of a flow is held no longer */
/* Stop until attached (capture/holds.h). */
#define IT_HOLD_ON 6            /* 1: some selector asks for it */
#define IT_HOLD_HEARTBEAT 7     /* CLOCK_MONOTONIC ns at which the thread that attaches last was there */
#define IT_HOLD_STOPS 8         /* processes stopped, since load */
#define IT_HOLD_REFUSED 9       /* not stopped: pid 1, traced, the daemon itself, no room */
#define IT_HOLD_UNPROTECTED 10  /* not stopped because the heartbeat was stale */
#define IT_HOLD_OVERDUE 11      /* went on before their libraries were attached */
#define IT_HOLD_OWN_INODE 12    /* the daemon's executable: its children are never stopped when they execute it */
#define IT_HOLD_OWN_SIZE 13
#define IT_STRICT_REPEATS 14    /* segments of plain TCP that were left to TCP to repeat, since load */
#define IT_STRICT_WORDS 15
#define IT_STRICT_STALE_NS 2000000000ull
#define IT_HOLD_STALE_NS 1000000000ull
#define IT_HOLD_MAX_NS 1000000000ull   /* nobody is held longer */

struct stopped_process {
  u64 since_ns;
  u32 foreign;        /* somebody else has stopped it as well: it is not ours to continue */
  u32 reserved;
};

/* A version of a file, as the kernel's inode has it: compared, never interpreted. */
struct file_key {
  u64 inode;
  u64 size;
  u64 changed_ns;     /* last write */
  u32 device;
  u32 generation;
};

/* A process that waits for its probes. */
struct held_process {
  u64 since_ns;
  struct file_key file;   /* what it has just executed or mapped */
  u32 foreign;            /* as in stopped_process */
  u32 number;             /* of holds, so that a newer one is told from an older */
};

/* Who is stopped when it executes: a name that the kernel can see, conservative; the daemon decides. */
#define IT_STOP_EXE 1         /* file name of the executable */
#define IT_STOP_COMM 2
#define IT_STOP_CGROUP 3      /* name of its cgroup or of one above it */
#define IT_STOP_NAME_MAX 63   /* with the NUL; longer ones are compared so far */
struct stop_name {
  u8 kind;
  u8 text[IT_STOP_NAME_MAX];
};

struct target_value {
  u32 state;
  u32 flags;          /* IT_TARGET_STOPS */
};

/* The SSL call that a thread is in (maps.h); a new daemon waits for those that it finds. */
struct call_key {
  u64 id;
  u64 level;
};
struct call {
  u64 ssl;
  u64 buffer;
  u64 length;           /* asked for */
  u64 length_pointer;   /* size_t * of the _ex forms, else 0 */
  u64 stack;            /* stack pointer that the return will have: says which call returns */
  u32 kind;             /* IT_CALL_*; 0: none */
  u32 nested;           /* 1: level 1 is in use */
};

struct object_key {
  u64 ssl;
  u32 tgid;
  u32 reserved;
};

struct go_call_key {
  u64 g;         /* address of the goroutine's descriptor */
  u64 depth;     /* from the top of the goroutine's stack to the stack pointer */
  u32 tgid;
  u32 reserved;
};

struct tls_object {
  u64 id;
  u64 offset[2];
  u8 bound;
  u8 hello;
  u8 role;
  u8 joined;        /* small reads of it may wait */
  u32 references;   /* SSL_up_ref without their SSL_free */
  /* Writing, inside one SSL_write or between its retries (tls_copy.h): */
  u64 ahead;        /* bytes behind offset[IT_OUT] that were sent before the call has returned */
  u64 record;       /* first ciphertext of the record that is leaving */
  u64 pending;      /* plaintext in it; GnuTLS: bytes kept of a send that has to be repeated */
  u64 cookie;       /* of the socket that its descriptor was, 0 = not known so; GnuTLS: IT_HAS_DESCRIPTOR | it */
  u32 calls;        /* Go: in flight */
  u32 closing;      /* Go: how it was closed; the last call in flight ends it; GnuTLS: the program has its own push function */
  u32 go;           /* 1: of Go's crypto/tls */
  u32 reserved;
};
#define IT_HAS_DESCRIPTOR (1ull << 32)

/* A packet of GnuTLS that was received and whose bytes the program has not asked for yet. */
struct packet_key {
  u64 packet;
  u32 tgid;
  u32 reserved;
};

/* How often the probes of a library acted for a target, by IT_CALL_*. */
struct library_hits {
  u64 enters[IT_CALLS];
  u64 exits[IT_CALLS];
};

/* Small reads waiting to be joined. The daemon may copy it at any time: `start` is written before
 * the bytes change and `start_again` with it, so that equal values mean an untorn copy. */
struct small_reads {
  u64 start;
  u64 object;
  u64 time_ns;
  u32 length;
  u32 tgid;
  u8 bytes[IT_SMALL_BUFFER + IT_SMALL_MAX];
  u64 start_again;
};

struct sock_owner {
  u32 tgid;
  u32 flags;
};

struct loss_counter {
  u64 events;
  u64 bytes;
};

#ifdef __cplusplus
#define IT_ASSERT_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type)
#else
#define IT_ASSERT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
#endif
IT_ASSERT_SIZE(struct event_header, 16);
IT_ASSERT_SIZE(struct address_pair, 40);
IT_ASSERT_SIZE(struct data_event, 48);
IT_ASSERT_SIZE(struct orphan_event, 88);
IT_ASSERT_SIZE(struct exec_event, 16 + 16 + 16 + 8 + 16 + IT_NAME_MAX + IT_ARGS_MAX);
IT_ASSERT_SIZE(struct fork_event, 32);
IT_ASSERT_SIZE(struct process_event, 24);
IT_ASSERT_SIZE(struct listen_event, 24);
IT_ASSERT_SIZE(struct flow_open_event, 16 + 16 + 40 + 16 + 8);
IT_ASSERT_SIZE(struct flow_close_event, 48);
IT_ASSERT_SIZE(struct flow_owner_event, 32);
IT_ASSERT_SIZE(struct flow_tls_event, 40);
IT_ASSERT_SIZE(struct tls_open_event, 48);
IT_ASSERT_SIZE(struct tls_close_event, 40);
IT_ASSERT_SIZE(struct bind_event, 40);
IT_ASSERT_SIZE(struct loss_event, 48);
IT_ASSERT_SIZE(struct shared, 56);
IT_ASSERT_SIZE(struct call, 48);
IT_ASSERT_SIZE(struct file_key, 32);
IT_ASSERT_SIZE(struct held_process, 48);
IT_ASSERT_SIZE(struct stop_name, 64);
IT_ASSERT_SIZE(struct target_note, 24 + IT_SELECTOR_MAX + 16 + 2 * IT_NAME_MAX + IT_ARGS_MAX);
IT_ASSERT_SIZE(struct flow_wire_event, 88);
IT_ASSERT_SIZE(struct small_reads, 32 + IT_SMALL_BUFFER + IT_SMALL_MAX + 8);

#ifdef __cplusplus
}  // namespace infertrail::abi
#endif
#endif
