/* Maps that several programs share, and the switches that the daemon sets. Private maps stand in
 * the file of their program. */
#ifndef INFERTRAIL_MAPS_H
#define INFERTRAIL_MAPS_H

#include "kernel.h"

/* What outlives a daemon, beside the maps below (event.h); pinned with them. Alone in its section: a
 * daemon of another version finds its beginning there. */
volatile struct shared shared __weak SEC(".data.shared") = {.data_wakeup = 1 << 20, .next_object = 1};

/* Which load of the programs this is: set before it, one more than any other that may be attached. */
volatile const __u32 generation __weak = 1;

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 64 << 20);
} data_ring __weak SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 8 << 20);
} control_ring __weak SEC(".maps");

/* What was lost, by kind, since load. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, IT_LOSS_KINDS);
  __type(key, u32);
  __type(value, struct loss_counter);
} losses __weak SEC(".maps");

/* tgid -> selected or pending. Written by the daemon; fork and exit keep it true. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __type(key, u32);
  __type(value, struct target_value);
} targets __weak SEC(".maps");

/* The daemon's notes about them and about its losses that are in the trail; programs do not use them. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, u32);
  __type(value, struct target_note);
} target_notes __weak SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, IT_LOSS_KINDS);
  __type(key, u32);
  __type(value, struct loss_counter);
} losses_told __weak SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct library_key);
  __type(value, struct library_note);
} library_notes __weak SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct selector_key);
  __type(value, u8);
} selector_notes __weak SEC(".maps");

/* Memory of the daemon that survives it (exchanges under way); sized by ProbeOptions. Programs do not
 * use it. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, 1);
  __uint(map_flags, BPF_F_MMAPABLE);
  __type(key, u32);
  __type(value, u64);
} carry __weak SEC(".maps");

/* Ports whose listener becomes a target at listen(), in the kernel, before any client can connect. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, u16);
  __type(value, u8);
} target_ports __weak SEC(".maps");

/* Who opened a socket; an accepted socket gets its listener's (BPF_F_CLONE). */
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
  __type(key, int);
  __type(value, struct sock_owner);
} sock_owners __weak SEC(".maps");

/* One TCP connection of a target, from its first payload to its close; freed with the socket. */
struct flow_state {
  u64 cookie;
  u64 end[2];        /* stream offset after the last byte seen */
  u64 origin[2];     /* stream offset when it began to be seen */
  u32 base[2];       /* TCP sequence number of stream offset 0 */
  u8 tls;            /* 1: looks like TLS */
  u8 bound;          /* 1: its TLS object is known */
  u8 ignored;        /* 1: owner was no target when it began */
  u8 closed;         /* 1: its close was told */
  u8 reserved[4];
  /* What a TLS flow carried, by direction (flow_wire_event). */
  u64 next_record[2];  /* offset of the next record's header */
  u64 sealed[2];
  u32 records[2];
  u8 header[2][4];     /* bytes of that header that came with an earlier segment */
  u8 have[2];          /* how many */
  u8 changed[2];       /* a ChangeCipherSpec was seen */
  u8 wire;             /* IT_WIRE_* */
  u8 unused[3];
  u32 busy[2];         /* 1: a CPU is at it */
  u64 skipped[2];      /* bytes that passed while the borders were lost, until they were found again */
  u64 told;            /* bytes at the last flow_wire_event, both directions */
  u64 told_ns;
  u64 held_ns[2];      /* since when back-pressure holds a direction of plain TCP (strict_flow.h); 0: it does not */
  struct object_key object;   /* that it is bound to */
  u64 object_id;
  /* TLS that begins later than the connection (flow_start.h). */
  u64 held_at[2];      /* offset of the bytes that are held back */
  u64 tls_from[2];     /* where TLS begins */
  u8 held_bytes[2][8];
  u8 held[2];          /* how many */
  u8 looks;            /* segments that will still be looked at */
  u8 first_have;       /* bytes in `first`: the beginning of the first TLS record that was sent */
  u8 first[64];        /* a power of two, for the verifier */
};
struct {
  __uint(type, BPF_MAP_TYPE_SK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct flow_state);
} flows __weak SEC(".maps");

/* The SSL call that a thread is in (level 0), and the one around it on another object (level 1: TLS
 * inside TLS, or a coroutine that was left in a call). A thread that ends takes its entries along. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 32768);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct call_key);
  __type(value, struct call);
} calls __weak SEC(".maps");

/* While two generations may act, both run one after the other at each hit of a uprobe, and only one may
 * count, advance or free. The newer decides and says so here, the older follows. */
struct claim_key {
  u64 id;
  u64 place;
};
#define CLAIM_TAKEN 1   /* by the newer */
#define CLAIM_LEFT 2    /* to the older */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, struct claim_key);
  __type(value, u32);
} claims __weak SEC(".maps");

/* TLS objects seen, by process and address; id is never reused. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct object_key);
  __type(value, struct tls_object);
} tls_objects __weak SEC(".maps");

/* Ciphertext that a TLS object has just put into a BIO -> that object (capture.md 2.1). */
struct fingerprint {
  u8 kind;           /* 22 or 23: TLS record type */
  u8 reserved[7];
  u8 bytes[24];
};
struct fingerprint_owner {
  struct object_key key;
  u64 id;
};
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, struct fingerprint);
  __type(value, struct fingerprint_owner);
} fingerprints __weak SEC(".maps");

/* Back-pressure (strict.h): switches and counters, and who was stopped by us. */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, IT_STRICT_WORDS);
  __type(key, u32);
  __type(value, u64);
} strict __weak SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, u32);
  __type(value, struct stopped_process);
} stopped __weak SEC(".maps");

/* Stop until attached (hold.h): names of processes that are stopped when they execute, who is stopped,
 * and the files that were looked at: nobody has to wait for them. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct stop_name);
  __type(value, u8);
} stop_names __weak SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, u32);
  __type(value, struct held_process);
} held __weak SEC(".maps");
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 4096);
  __type(key, struct file_key);
  __type(value, u8);
} known_files __weak SEC(".maps");

/* Socket cookie -> the TLS object that uses it by its own account (a descriptor): flow.bpf.c binds them
 * at the next segment of that socket, so that the flow is always told before its binding. */
struct socket_owner {
  struct object_key key;
  u64 id;
  u32 method;        /* IT_BIND_* */
  u32 reserved;
};
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 16384);
  __type(key, u64);
  __type(value, struct socket_owner);
} socket_objects __weak SEC(".maps");

/* Connections made on this host: address pair seen from the client -> who connected. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 32768);
  __type(key, struct address_pair);
  __type(value, u32);
} connectors __weak SEC(".maps");

#endif
