/* Whose stop is it? signal_generate(signal, info, task, group, result) sees every signal that is sent.
 * Its failure loses: a process that we stopped and that somebody else stops meanwhile goes on with our
 * SIGCONT. */
#include "strict.h"

/* As the kernel's SEND_SIG_PRIV: a signal without a sender, as bpf_send_signal's is. */
#define IT_FROM_KERNEL 1

SEC("raw_tp/signal_generate")
int signal_sent(struct bpf_raw_tracepoint_args *ctx) {
  int signal = ctx->args[0];
  if (signal < IT_SIGCONT || signal > IT_SIGTTOU) return 0;
  struct task_struct *task = (void *)ctx->args[2];
  u32 tgid = BPF_CORE_READ(task, tgid);
  struct stopped_process *entry = bpf_map_lookup_elem(&stopped, &tgid);
  struct held_process *waits = bpf_map_lookup_elem(&held, &tgid);
  if (signal == IT_SIGCONT) {   /* it runs now, whoever wanted that */
    if (entry) bpf_map_delete_elem(&stopped, &tgid);
    if (waits) bpf_map_delete_elem(&held, &tgid);
  } else if (ctx->args[1] > IT_FROM_KERNEL) {
    if (entry) entry->foreign = 1;
    if (waits) waits->foreign = 1;
  }
  return 0;
}
