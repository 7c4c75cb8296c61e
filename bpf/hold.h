/* Stop until attached: a process that a selector with `,stop` names is stopped (SIGSTOP) where it executes,
 * or maps, a file that the daemon has not looked at yet; the daemon attaches the file's probes and lets it
 * go on. capture/holds.h has the daemon's half and the rules. Only for programs that run in the process:
 * the signal takes effect on the way back to user space, before the first instruction of the new code. */
#ifndef INFERTRAIL_HOLD_H
#define INFERTRAIL_HOLD_H

#include "strict.h"

static __always_inline struct file *file_of_descriptor(long fd) {
  struct task_struct *task = (void *)bpf_get_current_task();
  struct fdtable *descriptors = BPF_CORE_READ(task, files, fdt);
  if (fd < 0 || fd >= BPF_CORE_READ(descriptors, max_fds)) return 0;
  struct file **table = BPF_CORE_READ(descriptors, fd);
  struct file *file = 0;
  return bpf_probe_read_kernel(&file, sizeof(file), table + fd) ? 0 : file;
}

static __always_inline void key_of_file(struct file *file, struct file_key *out) {
  struct inode *inode = BPF_CORE_READ(file, f_inode);
  struct inode___6_7 *newer = (void *)inode;
  struct inode___6_11 *newest = (void *)inode;
  out->inode = BPF_CORE_READ(inode, i_ino);
  out->size = BPF_CORE_READ(inode, i_size);
  out->device = BPF_CORE_READ(inode, i_sb, s_dev);
  out->generation = BPF_CORE_READ(inode, i_generation);
  if (bpf_core_field_exists(newest->i_mtime_sec))
    out->changed_ns = BPF_CORE_READ(newest, i_mtime_sec) * 1000000000ull + BPF_CORE_READ(newest, i_mtime_nsec);
  else if (bpf_core_field_exists(newer->__i_mtime))
    out->changed_ns = BPF_CORE_READ(newer, __i_mtime.tv_sec) * 1000000000ull + BPF_CORE_READ(newer, __i_mtime.tv_nsec);
  else
    out->changed_ns = BPF_CORE_READ(inode, i_mtime.tv_sec) * 1000000000ull + BPF_CORE_READ(inode, i_mtime.tv_nsec);
}

static __always_inline int holds(void) {
  u64 *on = strict_word(IT_HOLD_ON);
  return on && *on;
}

/* The daemon's helpers (watchdog, canary) are its own executable. */
static __always_inline int is_own(const struct file_key *file) {
  u64 *inode = strict_word(IT_HOLD_OWN_INODE), *size = strict_word(IT_HOLD_OWN_SIZE);
  return inode && size && file->inode == *inode && file->size == *size;
}

/* Stops the current process, unless somebody has looked at the file already. */
static __noinline int hold_for(struct file_key *file) {
  if (bpf_map_lookup_elem(&known_files, file)) return 0;
  u64 now = bpf_ktime_get_ns();
  u64 *heartbeat = strict_word(IT_HOLD_HEARTBEAT);
  if (!heartbeat || (now > *heartbeat && now - *heartbeat > IT_HOLD_STALE_NS)) {
    strict_count(IT_HOLD_UNPROTECTED);   /* nobody would let it go on */
    return 0;
  }
  u32 tgid = bpf_get_current_pid_tgid() >> 32;
  struct task_struct *task = (void *)bpf_get_current_task();
  u64 *self = strict_word(IT_STRICT_SELF);
  if (tgid == 1 || (self && tgid == *self) || BPF_CORE_READ(task, group_leader, ptrace) || BPF_CORE_READ(task, ptrace)) {
    strict_count(IT_HOLD_REFUSED);
    return 0;
  }
  struct held_process entry = {.since_ns = now, .file = *file, .number = 1};
  struct held_process *known = bpf_map_lookup_elem(&held, &tgid);
  if (known) {   /* another thread was first, or somebody let it go on */
    entry.since_ns = known->since_ns;
    entry.foreign = known->foreign;
    entry.number = known->number + 1;
  }
  /* In the map before it stops: whoever reads the map after our death finds every process. */
  if (bpf_map_update_elem(&held, &tgid, &entry, BPF_ANY)) {
    strict_count(IT_HOLD_REFUSED);
    return 0;
  }
  if (bpf_send_signal(IT_SIGSTOP)) {
    if (!known) bpf_map_delete_elem(&held, &tgid);
    strict_count(IT_HOLD_REFUSED);
  } else if (!known) {
    strict_count(IT_HOLD_STOPS);
  }
  return 0;
}

/* Whether a selector names a process that bears this name. */
static __noinline int stop_named(struct stop_name *name, u8 kind, const void *text) {
  name->kind = kind;
  __builtin_memset(name->text, 0, sizeof(name->text));
  if (bpf_probe_read_kernel_str(name->text, sizeof(name->text), text) <= 0) return 0;
  return bpf_map_lookup_elem(&stop_names, name) != 0;
}

#define IT_CGROUPS_MAX 16   /* levels; deeper ones are not looked at */

static __always_inline int stops_by_cgroup(struct task_struct *task, struct stop_name *name) {
  struct cgroup *own = BPF_CORE_READ(task, cgroups, dfl_cgrp);
  int level = BPF_CORE_READ(own, level);
  for (int i = 1; i < IT_CGROUPS_MAX; i++) {   /* 0 is the root, which has no name */
    if (i > level) return 0;
    struct cgroup *each = 0;
    if (bpf_core_read(&each, sizeof(each), &own->ancestors[i])) return 0;
    if (stop_named(name, IT_STOP_CGROUP, BPF_CORE_READ(each, kn, name))) return 1;
  }
  return 0;
}

/* Conservative: the daemon matches whole selectors, and lets go who is not chosen. */
static __always_inline int stops_by_name(struct task_struct *task, struct file *file) {
  struct stop_name name;
  u8 comm[16];
  if (stop_named(&name, IT_STOP_EXE, BPF_CORE_READ(file, f_path.dentry, d_name.name))) return 1;
  bpf_get_current_comm(comm, sizeof(comm));
  if (stop_named(&name, IT_STOP_COMM, comm)) return 1;
  return stops_by_cgroup(task, &name);
}

#endif
