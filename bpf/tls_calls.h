/* The SSL calls that a thread is in: from the entry of a function to its return. */
#ifndef INFERTRAIL_TLS_CALLS_H
#define INFERTRAIL_TLS_CALLS_H

#include "emit.h"

/* The stack pointer behind the return of the call that the probed place belongs to: the same at its
 * entry and at its exit, wherever inside the function the two were put (the cookie says). */
static __always_inline u64 stack_of(struct pt_regs *ctx, u64 cookie) {
  return PT_REGS_SP(ctx) + IT_COOKIE_STACK(cookie);
}

static __always_inline int entered(struct pt_regs *ctx, u64 cookie, u64 length, u64 length_pointer) {
  struct call_key key = {.id = bpf_get_current_pid_tgid()};
  u32 kind = IT_COOKIE_FUNCTION(cookie);
  struct call call = {.ssl = PT_REGS_PARM1(ctx),
                      .buffer = PT_REGS_PARM2(ctx),
                      .length = length,
                      .length_pointer = length_pointer,
                      .stack = stack_of(ctx, cookie),
                      .kind = kind};
  struct call *outer = bpf_map_lookup_elem(&calls, &key);
  if (outer && outer->ssl == call.ssl && outer->kind != IT_CALL_HANDSHAKE) {
    if (outer->stack > call.stack) return 0;   /* the outermost wins; this return will not match */
    call.nested = outer->nested;               /* it was left without a return, or jumped here */
  } else if (outer) {
    struct call saved = *outer;
    struct call_key around = {.id = key.id, .level = 1};
    if (saved.nested) count_loss(IT_LOSS_NESTED, 0);   /* a third level: the second is forgotten */
    if (bpf_map_update_elem(&calls, &around, &saved, BPF_ANY))
      count_loss(IT_LOSS_MAP_FULL, 0);
    else
      call.nested = 1;
  }
  if (bpf_map_update_elem(&calls, &key, &call, BPF_ANY)) count_loss(IT_LOSS_MAP_FULL, 0);
  return 0;
}

/* Takes the call that returns out of the map: 0 when this is the return of an inner one. */
static __always_inline int returned(struct pt_regs *ctx, u64 cookie, struct call *out) {
  struct call_key key = {.id = bpf_get_current_pid_tgid()};
  struct call_key around = {.id = key.id, .level = 1};
  struct call *call = bpf_map_lookup_elem(&calls, &key);
  if (!call) return 0;
  u64 stack = stack_of(ctx, cookie);
  if (call->stack == stack) {
    *out = *call;
    struct call *outer = out->nested ? bpf_map_lookup_elem(&calls, &around) : 0;
    if (!outer) {
      bpf_map_delete_elem(&calls, &key);
      return 1;
    }
    struct call saved = *outer;
    saved.nested = 0;
    bpf_map_update_elem(&calls, &key, &saved, BPF_EXIST);
    bpf_map_delete_elem(&calls, &around);
    return 1;
  }
  struct call *outer = call->nested ? bpf_map_lookup_elem(&calls, &around) : 0;
  if (!outer || outer->stack != stack) return 0;
  *out = *outer;
  call->nested = 0;
  bpf_map_delete_elem(&calls, &around);
  return 1;
}

#endif
