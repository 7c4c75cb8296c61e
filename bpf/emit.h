/* Reserve, fill the header, submit; and the only place that counts a loss. */
#ifndef INFERTRAIL_EMIT_H
#define INFERTRAIL_EMIT_H

#include "maps.h"

/* Tells the verifier that n <= max where clang's own checks have been optimised away. */
#define at_most(n, max) asm volatile("if %0 <= %1 goto +1\n %0 = %1" : "+r"(n) : "i"(max))

/* Programs do nothing unless their generation acts (event.h): not before the daemon has attached all
 * it wants, and not beside a newer daemon's. The end of a call and of a process are the exceptions:
 * whoever sees it first takes it out of its map, and nobody after it finds it there. */
static __always_inline int armed(void) {
  return shared.acting[0] == generation || shared.acting[1] == generation;
}

static __always_inline void count_loss(u32 kind, u64 bytes) {
  struct loss_counter *counter = bpf_map_lookup_elem(&losses, &kind);
  if (!counter) return;
  counter->events += 1;
  counter->bytes += bytes;
}

/* Around everything that a uprobe or tracepoint program does. On kernels that can preempt there:
 * - from 6.13 the stack of a program is one per CPU, and for uprobes nothing keeps a second task on
 *   that CPU from running the program on the same stack: its call data were mixed up (seen on 7.2);
 * - a tracepoint program that is preempted makes the kernel skip the next task's event on that CPU
 *   (recursion_misses, seen on 7.2: a connection without an owner).
 * What is left: the instructions before the call, and softirqs that fire the same tracepoint while it
 * runs in a task (inet_sock_set_state does). Skipped events are counted by Probes::missed(). */
static __always_inline void hold_cpu(void) {
  if (bpf_preempt_disable) bpf_preempt_disable();
}
static __always_inline void release_cpu(void) {
  if (bpf_preempt_enable) bpf_preempt_enable();
}

/* A control record of a fixed type; NULL is counted. */
static __always_inline void *reserve_control(u64 size, u16 type) {
  struct event_header *header = bpf_ringbuf_reserve(&control_ring, size, 0);
  if (!header) {
    count_loss(IT_LOSS_CONTROL_FULL, size);
    return 0;
  }
  header->type = type;
  header->reserved = 0;
  header->size = size;
  header->time_ns = bpf_ktime_get_ns();
  return header;
}
#define RESERVE_CONTROL(struct_type, type) \
  ((struct_type *)reserve_control(sizeof(struct_type), type))

/* Bulk wakes the reader each time that `shared.data_wakeup` more bytes wait, not for each record above it:
 * a wakeup is an interrupt. A crossing that two CPUs miss together is found by the next one, or by
 * the reader, which looks every 10 ms anyway. `size` is what the record takes. */
static __always_inline u64 data_flags(u64 size) {
  u64 waiting = bpf_ringbuf_query(&data_ring, BPF_RB_AVAIL_DATA);
  u32 step = shared.data_wakeup;
  if (!step || waiting < size) return BPF_RB_FORCE_WAKEUP;
  return waiting / step != (waiting - size) / step ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP;
}

/* Bytes [from, to) of a stream were lost here: counted, and told to the daemon by stream. */
static __always_inline void lose(u64 stream, u8 is_tls, u8 direction, u64 from, u64 to, u8 reason) {
  count_loss(reason, to - from);
  struct loss_event *event = RESERVE_CONTROL(struct loss_event, IT_LOSS);
  if (!event) return;
  event->stream = stream;
  event->from = from;
  event->to = to;
  event->is_tls = is_tls;
  event->direction = direction;
  event->reason = reason;
  __builtin_memset(event->reserved, 0, sizeof(event->reserved));
  bpf_ringbuf_submit(event, 0);
}

/* `id` is bpf_get_current_pid_tgid() where `current` can be trusted, else 0. */
static __always_inline void fill_data(struct data_event *event, u64 id, u16 type, u64 stream,
                                      u8 direction, u64 offset, u32 length, u32 head) {
  event->header.type = type;
  event->header.reserved = 0;
  event->header.size = head + length;
  event->header.time_ns = bpf_ktime_get_ns();
  event->stream = stream;
  event->offset = offset;
  event->length = length;
  event->tgid = id >> 32;
  event->tid = (u32)id;
  event->direction = direction;
  __builtin_memset(event->reserved, 0, sizeof(event->reserved));
}

static __always_inline u32 target_state(u32 tgid) {
  struct target_value *value = bpf_map_lookup_elem(&targets, &tgid);
  return value ? value->state : 0;
}

static __always_inline void v4_mapped(u8 *out, u32 address) {
  __builtin_memset(out, 0, 10);
  out[10] = 0xff;
  out[11] = 0xff;
  __builtin_memcpy(out + 12, &address, 4);
}

#endif
