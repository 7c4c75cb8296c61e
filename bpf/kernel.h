/* The kernel types and fields that we read, and no others. CO-RE fixes the offsets at load
 * (preserve_access_index), so this is all that replaces a vmlinux.h. */
#ifndef INFERTRAIL_KERNEL_H
#define INFERTRAIL_KERNEL_H

#include <linux/bpf.h>
#ifndef __TARGET_ARCH_arm64
#include <linux/ptrace.h>
#else
/* As <asm/ptrace.h> of arm64 has them: a host of another architecture has no such header. */
struct user_pt_regs { unsigned long long regs[31], sp, pc, pstate; };
struct pt_regs { struct user_pt_regs user_regs; };
#endif
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include <infertrail/event.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct { int counter; } atomic_t;
typedef struct { long long counter; } atomic64_t;

struct mm_struct { unsigned long arg_start, arg_end; };
struct super_block { u32 s_dev; };
struct timespec64 { long long tv_sec; long tv_nsec; };
struct inode {
  unsigned short i_mode;
  unsigned long i_ino;
  u32 i_generation;
  long long i_size;
  struct super_block *i_sb;
  struct timespec64 i_mtime;   /* until 6.6 */
};
struct inode___6_7 { struct timespec64 __i_mtime; };
struct inode___6_11 { long long i_mtime_sec; u32 i_mtime_nsec; };
struct qstr { const unsigned char *name; };
struct dentry { struct qstr d_name; };
struct path { struct dentry *dentry; };
struct file { void *private_data; struct inode *f_inode; struct path f_path; };
struct kernfs_node { const char *name; };
struct cgroup { int level; struct kernfs_node *kn; struct cgroup *ancestors[]; };
struct css_set { struct cgroup *dfl_cgrp; };
struct fdtable { unsigned int max_fds; struct file **fd; };
struct files_struct { struct fdtable *fdt; };
struct signal_struct { atomic_t live; };

struct task_struct {
  int pid;
  int tgid;
  unsigned int ptrace;
  u64 start_boottime;
  struct task_struct *real_parent;
  struct task_struct *group_leader;
  struct mm_struct *mm;
  struct files_struct *files;
  struct signal_struct *signal;
  struct css_set *cgroups;
};

struct linux_binprm { const char *filename; struct file *file; };

struct in6_addr {
  union { u8 u6_addr8[16]; } in6_u;
};
struct sock_common {
  u32 skc_daddr;
  u32 skc_rcv_saddr;
  u16 skc_dport;
  u16 skc_num;
  u16 skc_family;
  struct in6_addr skc_v6_daddr;
  struct in6_addr skc_v6_rcv_saddr;
  atomic64_t skc_cookie;
};
struct socket;
struct sock { struct sock_common __sk_common; u16 sk_protocol; int sk_err; struct socket *sk_socket; };
struct socket { struct sock *sk; };

#pragma clang attribute pop

/* From 6.10; without them preemption cannot reach a program of ours (see hold_cpu). */
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IT_TCP_ESTABLISHED 1
#define IT_TCP_SYN_SENT 2
#define IT_TCP_CLOSE 7
#define IT_TCP_LISTEN 10
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define PROT_EXEC 4

#endif
