/* Plaintext of a process into the data ring: parts, joined small reads, and writes that are taken while
 * they are under way. */
#ifndef INFERTRAIL_TLS_COPY_H
#define INFERTRAIL_TLS_COPY_H

#include "strict.h"

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

#define USER_TIER(TIER)                                                                  \
  if (n <= (TIER)) {                                                                     \
    struct data_event *event = bpf_ringbuf_reserve(&data_ring, sizeof(*event) + (TIER), 0);   \
    if (!event) return IT_LOSS_RING_FULL + 1;                                            \
    fill_data(event, bpf_get_current_pid_tgid(), IT_TLS_DATA, id, how & 1, offset, n,    \
              sizeof(*event));                                                           \
    event->header.time_ns -= how >> 8;                                                   \
    at_most(n, TIER);                                                                    \
    if (bpf_probe_read_user(event + 1, n, (void *)from)) {                               \
      bpf_ringbuf_discard(event, BPF_RB_NO_WAKEUP);                                      \
      return IT_LOSS_FAULT + 1;                                                          \
    }                                                                                    \
    bpf_ringbuf_submit(event, data_flags(sizeof(*event) + (TIER)));                      \
    return 0;                                                                            \
  }

/* `how`: the direction, and above 8 bits how many ns ago the call began. */
static __noinline int copy_user(u64 id, u64 offset, u64 from, u64 n, u64 how) {
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
  u64 direction;   /* as `how` above */
};

static long copy_step(u32 index, struct copy_job *job) {
  if (!job->left) return 1;
  u64 n = job->left > IT_PART_MAX ? IT_PART_MAX : job->left;
  int error = copy_user(job->id, job->offset, job->from, n, job->direction);
  if (error) lose(job->id, 1, job->direction & 1, job->offset, job->offset + n, error - 1);
  job->offset += n;
  job->from += n;
  job->left -= n;
  return 0;
}

/* Bytes of a call that begin `skip` behind the stream's position; up to 128 GiB in parts. */
static __always_inline void emit_at(struct tls_object *object, u8 direction, u64 skip, u64 buffer, u64 n) {
  struct copy_job job = {.id = object->id,
                         .offset = object->offset[direction & 1] + skip,
                         .from = buffer + skip,
                         .left = n,
                         .direction = direction};
  if (n <= IT_PART_MAX)
    copy_step(0, &job);
  else
    bpf_loop(1 << 21, copy_step, &job, 0);
  press_back();
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

static __always_inline void flush_joined(struct tls_object *object, struct object_key *key) {
  if (!object->joined) return;
  flush_small(bpf_map_lookup_elem(&small, key));
  object->joined = 0;
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
  object->joined = 1;
  reads->length = at + n;
  if (reads->length >= IT_SMALL_BUFFER - IT_SMALL_MAX) flush_small(reads);
  return 1;
}


/* Writes of more than one record leave record by record, so that a message need not fit into the ring.
 *
 * OpenSSL begins a record when the one before has left whole: what that one carried is the peer's,
 * whatever the call returns. So its plaintext is taken when the next record begins, from pages that the
 * cipher has just read, and never a byte that has not left. A call that fails (WANT_WRITE) is repeated
 * by the program; OpenSSL then goes on behind what has left, and so does `ahead`. The rest of the call
 * is taken at its return, up to what was accepted. */
#define RECORD_MAX 16384
#define RECORD_OVERHEAD 80   /* more than any cipher adds: IV 16, MAC 48, padding 16 */

static __always_inline void write_record(struct tls_object *object, struct object_key *key,
                                         struct call *call, u64 from, u64 length) {
  u8 head[13];
  if (length < 5 + RECORD_OVERHEAD || bpf_probe_read_user(head, sizeof(head), (void *)from)) return;
  u64 body = (u64)head[3] << 8 | head[4];
  if (head[0] != 23 || head[1] != 3 || body <= RECORD_OVERHEAD || length < 5 + body) return;
  u64 record;
  __builtin_memcpy(&record, head + 5, sizeof(record));
  if (record == object->record) return;   /* the same one again: it found no room */
  u64 n = object->pending;
  object->record = record;
  /* Some ciphers make several records at once. */
  object->pending = (body > RECORD_MAX ? RECORD_MAX : body - RECORD_OVERHEAD) * (length / (5 + body));
  if (object->ahead >= call->length) return;
  if (n > call->length - object->ahead) n = call->length - object->ahead;
  if (!n) return;
  flush_joined(object, key);
  emit_at(object, IT_OUT, object->ahead, call->buffer, n);
  object->ahead += n;
}

/* The call has returned: `n` bytes were accepted, so every record has left. */
static __always_inline void write_accepted(struct tls_object *object, struct call *call, u64 n) {
  u64 ahead = object->ahead;
  if (n > ahead) emit_at(object, IT_OUT, ahead, call->buffer, n - ahead);
  object->offset[IT_OUT] += n;
  object->ahead = ahead > n ? ahead - n : 0;
  object->pending = 0;
}

#endif
