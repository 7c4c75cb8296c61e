/* Back-pressure: a producer that finds the data ring above the mark is stopped (SIGSTOP) until the
 * daemon has read enough; capture/strict.h has the daemon's half and the rules. Only for programs that
 * run in the producer and may send signals: uprobes, kprobes, tracepoints. Not cgroup_skb: received
 * bytes arrive in a softirq, in whatever process was interrupted; there TCP waits (strict_flow.h). */
#ifndef INFERTRAIL_STRICT_H
#define INFERTRAIL_STRICT_H

#include "emit.h"

#define IT_SIGCONT 18
#define IT_SIGSTOP 19
#define IT_SIGTTOU 22

static __always_inline u64 *strict_word(u32 word) { return bpf_map_lookup_elem(&strict, &word); }

static __always_inline void strict_count(u32 word) {
  u64 *counter = strict_word(word);
  if (counter) __sync_fetch_and_add(counter, 1);
}

/* The daemon is gone or stands still: nobody would let go on what is held. */
static __always_inline int nobody_reads(u64 now) {
  u64 *heartbeat = strict_word(IT_STRICT_HEARTBEAT);
  return !heartbeat || (now > *heartbeat && now - *heartbeat > IT_STRICT_STALE_NS);
}

static __noinline int hold_producer(void) {
  u64 now = bpf_ktime_get_ns();
  if (nobody_reads(now)) {
    strict_count(IT_STRICT_UNPROTECTED);
    return 0;
  }
  u32 tgid = bpf_get_current_pid_tgid() >> 32;
  struct task_struct *task = (void *)bpf_get_current_task();
  /* The host's init must never stop; a traced process would stop for its debugger, not for us. */
  u64 *self = strict_word(IT_STRICT_SELF);
  if (tgid == 1 || (self && tgid == *self) || BPF_CORE_READ(task, group_leader, ptrace) || BPF_CORE_READ(task, ptrace)) {
    strict_count(IT_STRICT_REFUSED);
    return 0;
  }
  struct stopped_process entry = {.since_ns = now};
  struct stopped_process *known = bpf_map_lookup_elem(&stopped, &tgid);
  if (known) {   /* another thread was first, or somebody let it go on: stop again */
    entry.since_ns = known->since_ns;
    entry.foreign = known->foreign;
  }
  /* In the map before it stops: whoever reads the map after our death finds every process. */
  if (bpf_map_update_elem(&stopped, &tgid, &entry, BPF_ANY)) {
    strict_count(IT_STRICT_REFUSED);
    return 0;
  }
  if (bpf_send_signal(IT_SIGSTOP)) {
    if (!known) bpf_map_delete_elem(&stopped, &tgid);
    strict_count(IT_STRICT_REFUSED);
  } else if (!known) {
    strict_count(IT_STRICT_STOPS);
  }
  return 0;
}

static __always_inline void press_back(void) {
  u64 *mark = strict_word(IT_STRICT_MARK);
  if (mark && *mark && bpf_ringbuf_query(&data_ring, BPF_RB_AVAIL_DATA) > *mark) hold_producer();
}

#endif
