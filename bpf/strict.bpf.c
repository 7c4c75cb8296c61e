/* Whose stop is it? signal_generate(signal, info, task, group, result) sees every signal that is sent.
 * Attached in strict mode only. Its failure loses: a process that we stopped and that somebody else
 * stops meanwhile goes on with our SIGCONT. */
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
  if (!entry) return 0;
  if (signal == IT_SIGCONT)
    bpf_map_delete_elem(&stopped, &tgid);   /* it runs now, whoever wanted that */
  else if (ctx->args[1] > IT_FROM_KERNEL)
    entry->foreign = 1;
  return 0;
}
