/* The classic way to read TLS plaintext, as a baseline for the benchmark and for nothing else: entry
 * and return probes on the public functions, one fixed record for each call whatever its length, the
 * ring's default wakeup (one for each record while the reader keeps up), a filter by process at most.
 * It makes the tools' usual mistakes on purpose: what is longer than a record is cut, a full ring
 * drops. Both are counted, so that the benchmark can say what the speed was paid with. */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "classic_sniffer.h"

typedef __u8 u8;
typedef __u32 u32;
typedef __u64 u64;

const volatile __u32 only_tgid = 0;   /* 0: every process */

__u64 moved, records, copied, dropped_records, dropped_bytes;

struct call {
  u64 buffer, length_pointer;
};
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 10240);
  __type(key, u64);
  __type(value, struct call);
} calls SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 16 << 20);
} ring SEC(".maps");

static __always_inline int enter(struct pt_regs *ctx, u64 length_pointer) {
  u64 id = bpf_get_current_pid_tgid();
  if (only_tgid && id >> 32 != only_tgid) return 0;
  struct call call = {.buffer = PT_REGS_PARM2(ctx), .length_pointer = length_pointer};
  bpf_map_update_elem(&calls, &id, &call, BPF_ANY);
  return 0;
}

static __always_inline int leave(struct pt_regs *ctx, u32 written) {
  u64 id = bpf_get_current_pid_tgid();
  struct call *found = bpf_map_lookup_elem(&calls, &id);
  if (!found) return 0;
  struct call call = *found;
  bpf_map_delete_elem(&calls, &id);
  int result = PT_REGS_RC(ctx);
  if (result <= 0) return 0;
  u64 length = result;
  if (call.length_pointer && bpf_probe_read_user(&length, sizeof(length), (void *)call.length_pointer))
    return 0;
  __sync_fetch_and_add(&moved, length);
  struct classic_record *record = bpf_ringbuf_reserve(&ring, sizeof(*record), 0);
  if (!record) {
    __sync_fetch_and_add(&dropped_records, 1);
    __sync_fetch_and_add(&dropped_bytes, length);
    return 0;
  }
  u32 n = length < CLASSIC_PAYLOAD ? length : CLASSIC_PAYLOAD;
  asm volatile("if %0 <= %1 goto +1\n %0 = %1" : "+r"(n) : "i"(CLASSIC_PAYLOAD));
  record->time_ns = bpf_ktime_get_ns();
  record->id = id;
  record->length = length;
  record->copied = n;
  record->written = written;
  record->reserved = 0;
  bpf_probe_read_user(record->payload, n, (void *)call.buffer);
  __sync_fetch_and_add(&records, 1);
  __sync_fetch_and_add(&copied, n);
  bpf_ringbuf_submit(record, 0);
  return 0;
}

SEC("uprobe")
int call_enter(struct pt_regs *ctx) { return enter(ctx, 0); }
SEC("uprobe")
int call_ex_enter(struct pt_regs *ctx) { return enter(ctx, PT_REGS_PARM4(ctx)); }
SEC("uretprobe")
int read_exit(struct pt_regs *ctx) { return leave(ctx, 0); }
SEC("uretprobe")
int write_exit(struct pt_regs *ctx) { return leave(ctx, 1); }

char LICENSE[] SEC("license") = "GPL";
