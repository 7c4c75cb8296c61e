/* Processes: keeps `targets` true while processes come and go, and tells the daemon who they are
 * while they still are.
 *
 * Why these hooks: raw tracepoints exist on every kernel from 6.1, with lockdown and without
 * kprobes, and fire in the process itself. What they cannot see: a process that changes its
 * command line or cgroup later; the daemon sweeps /proc for those. */
#include "hold.h"

/* The new program's arguments stand on its stack, just written by the kernel. */
static __always_inline int executed(struct bpf_raw_tracepoint_args *ctx) {
  struct task_struct *task = (void *)ctx->args[0];
  struct linux_binprm *bprm = (void *)ctx->args[2];
  struct file *file = BPF_CORE_READ(bprm, file);
  u32 tgid = bpf_get_current_pid_tgid() >> 32;
  struct target_value *known = bpf_map_lookup_elem(&targets, &tgid);
  u32 state = known ? known->state : 0;
  struct file_key key = {};
  int holding = holds();
  if (holding) key_of_file(file, &key);
  int stops = holding && !is_own(&key) && ((known && known->flags & IT_TARGET_STOPS) || stops_by_name(task, file));
  if (!state && shared.take_new) {
    struct target_value pending = {.state = IT_TARGET_PENDING, .flags = stops ? IT_TARGET_STOPS : 0};
    if (bpf_map_update_elem(&targets, &tgid, &pending, BPF_ANY))
      count_loss(IT_LOSS_MAP_FULL, 0);
    else
      state = IT_TARGET_PENDING;
  } else if (known && stops) {   /* of another name, as another program */
    known->flags |= IT_TARGET_STOPS;
  }
  if (stops && state) hold_for(&key);   /* before the daemon is told: it must find who is stopped */
  struct exec_event *event = RESERVE_CONTROL(struct exec_event, IT_EXEC);
  if (!event) return 0;
  event->tgid = tgid;
  event->ppid = BPF_CORE_READ(task, real_parent, tgid);
  event->uid = bpf_get_current_uid_gid();
  event->start_boot_ns = BPF_CORE_READ(task, group_leader, start_boottime);
  event->cgroup_id = bpf_get_current_cgroup_id();
  event->state = state;
  __builtin_memset(event->reserved, 0, sizeof(event->reserved));
  bpf_get_current_comm(event->comm, sizeof(event->comm));
  event->filename[0] = 0;
  bpf_probe_read_kernel_str(event->filename, sizeof(event->filename), BPF_CORE_READ(bprm, filename));
  unsigned long start = BPF_CORE_READ(task, mm, arg_start);
  u64 length = BPF_CORE_READ(task, mm, arg_end) - start;
  at_most(length, IT_ARGS_MAX);
  if (bpf_probe_read_user(event->args, length, (void *)start)) {
    count_loss(IT_LOSS_FAULT, length);
    length = 0;
  }
  event->args_length = length;
  bpf_ringbuf_submit(event, 0);
  return 0;
}

/* Children of a target are targets from their first instruction. */
static __always_inline int forked(struct bpf_raw_tracepoint_args *ctx) {
  struct task_struct *parent = (void *)ctx->args[0];
  struct task_struct *child = (void *)ctx->args[1];
  u32 parent_tgid = BPF_CORE_READ(parent, tgid);
  u32 child_tgid = BPF_CORE_READ(child, tgid);
  if (child_tgid == parent_tgid) return 0;
  struct target_value *value = bpf_map_lookup_elem(&targets, &parent_tgid);
  if (!value) return 0;
  struct target_value copy = *value;
  if (bpf_map_update_elem(&targets, &child_tgid, &copy, BPF_ANY)) {
    count_loss(IT_LOSS_MAP_FULL, 0);
    return 0;
  }
  struct fork_event *event = RESERVE_CONTROL(struct fork_event, IT_FORK);
  if (!event) return 0;
  event->parent = parent_tgid;
  event->child = child_tgid;
  event->start_boot_ns = BPF_CORE_READ(child, start_boottime);
  bpf_ringbuf_submit(event, 0);
  return 0;
}

static __always_inline int tell(u32 tgid, u16 type) {
  struct process_event *event = RESERVE_CONTROL(struct process_event, type);
  if (!event) return 0;
  event->tgid = tgid;
  event->reserved = 0;
  bpf_ringbuf_submit(event, 0);
  return 0;
}

static __always_inline int ended(struct bpf_raw_tracepoint_args *ctx) {
  struct task_struct *task = (void *)ctx->args[0];
  struct call_key call = {.id = bpf_get_current_pid_tgid()};   /* killed inside an SSL call */
  bpf_map_delete_elem(&calls, &call);
  call.level = 1;
  bpf_map_delete_elem(&calls, &call);
  if (BPF_CORE_READ(task, signal, live.counter) != 0) return 0;   /* threads remain */
  u32 tgid = bpf_get_current_pid_tgid() >> 32;
  if (!target_state(tgid)) return 0;
  bpf_map_delete_elem(&stopped, &tgid);   /* its number may be another process's soon */
  bpf_map_delete_elem(&held, &tgid);
  bpf_map_delete_elem(&targets, &tgid);
  return tell(tgid, IT_EXIT);
}

SEC("raw_tp/sched_process_exec")
int process_exec(struct bpf_raw_tracepoint_args *ctx) {
  hold_cpu();
  if (armed()) executed(ctx);
  release_cpu();
  return 0;
}

SEC("raw_tp/sched_process_fork")
int process_fork(struct bpf_raw_tracepoint_args *ctx) {
  hold_cpu();
  if (armed()) forked(ctx);
  release_cpu();
  return 0;
}

SEC("raw_tp/sched_process_exit")
int process_exit(struct bpf_raw_tracepoint_args *ctx) {
  hold_cpu();
  ended(ctx);
  release_cpu();
  return 0;
}

/* A new executable mapping may be a TLS library; the daemon must attach before its first use.
 * enter knows the protection and the file, exit knows that it worked. */
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __uint(max_entries, 4096);
  __type(key, u64);
  __type(value, struct file_key);
} mapping SEC(".maps");

struct sys_enter_args {
  u64 common;
  long nr;
  unsigned long args[6];
};
struct sys_exit_args {
  u64 common;
  long nr;
  long ret;
};

SEC("tracepoint/syscalls/sys_enter_mmap")
int mmap_enter(struct sys_enter_args *ctx) {
  if (!armed() || !(ctx->args[2] & PROT_EXEC) || (int)ctx->args[4] < 0) return 0;
  u64 id = bpf_get_current_pid_tgid();
  if (!target_state(id >> 32)) return 0;
  struct file_key key = {};
  struct file *file = file_of_descriptor((int)ctx->args[4]);
  if (file) key_of_file(file, &key);
  bpf_map_update_elem(&mapping, &id, &key, BPF_ANY);
  return 0;
}

SEC("tracepoint/syscalls/sys_exit_mmap")
int mmap_exit(struct sys_exit_args *ctx) {
  u64 id = bpf_get_current_pid_tgid();
  struct file_key *found = bpf_map_lookup_elem(&mapping, &id);
  if (!found) return 0;
  struct file_key key = *found;
  bpf_map_delete_elem(&mapping, &id);
  if (ctx->ret < 0 && ctx->ret > -4096) return 0;
  u32 tgid = id >> 32;
  struct target_value *target = bpf_map_lookup_elem(&targets, &tgid);
  if (target && target->flags & IT_TARGET_STOPS && holds()) hold_for(&key);
  return tell(tgid, IT_MAPPED);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
