/* The SSL calls that a thread is in: from the entry of a function to its return. */
#ifndef INFERTRAIL_TLS_CALLS_H
#define INFERTRAIL_TLS_CALLS_H

#include "emit.h"

/* The stack pointer behind the return of the call that the probed place belongs to: the same at its
 * entry and at its exit, wherever inside the function the two were put (the cookie says). */
static __always_inline u64 stack_of(struct pt_regs *ctx, u64 cookie) {
  return PT_REGS_SP(ctx) + IT_COOKIE_STACK(cookie);
}

/* A thread keeps its entry until it ends: `kind` 0 says that it is in no call. */
static __always_inline struct call *call_of(struct call_key *key) {
  struct call *call = bpf_map_lookup_elem(&calls, key);
  return call && call->kind ? call : 0;
}

/* 1 when the call before this one was left without a return that we saw. */
static __always_inline int entered(struct pt_regs *ctx, u64 cookie, u64 length, u64 length_pointer) {
  struct call_key key = {.id = bpf_get_current_pid_tgid()};
  struct call call = {.ssl = PT_REGS_PARM1(ctx),
                      .buffer = PT_REGS_PARM2(ctx),
                      .length = length,
                      .length_pointer = length_pointer,
                      .stack = stack_of(ctx, cookie),
                      .kind = IT_COOKIE_FUNCTION(cookie)};
  int left = 0;
  struct call *entry = bpf_map_lookup_elem(&calls, &key);
  if (entry && entry->kind && entry->ssl == call.ssl &&
      (entry->kind != IT_CALL_HANDSHAKE || entry->stack == call.stack)) {
    if (entry->stack > call.stack) return 0;   /* the outermost wins; this return will not match */
    call.nested = entry->nested;               /* it was left without a return, or jumped here */
    left = entry->stack != call.stack;         /* equal: another generation of us saw it, too */
  } else if (entry && entry->kind) {
    struct call saved = *entry;
    struct call_key around = {.id = key.id, .level = 1};
    if (saved.nested) count_loss(IT_LOSS_NESTED, 0);   /* a third level: the second is forgotten */
    if (bpf_map_update_elem(&calls, &around, &saved, BPF_ANY))
      count_loss(IT_LOSS_MAP_FULL, 0);
    else
      call.nested = 1;
  }
  if (entry)
    *entry = call;
  else if (bpf_map_update_elem(&calls, &key, &call, BPF_ANY))
    count_loss(IT_LOSS_MAP_FULL, 0);
  return left;
}

/* Takes the call that returns out of the map: 0 when this is the return of an inner one. */
static __always_inline int returned(struct pt_regs *ctx, u64 cookie, struct call *out) {
  struct call_key key = {.id = bpf_get_current_pid_tgid()};
  struct call_key around = {.id = key.id, .level = 1};
  struct call *call = call_of(&key);
  if (!call) return 0;
  u64 stack = stack_of(ctx, cookie);
  if (call->stack == stack) {
    *out = *call;
    struct call *outer = out->nested ? bpf_map_lookup_elem(&calls, &around) : 0;
    if (!outer) {
      call->kind = 0;
      return 1;
    }
    struct call saved = *outer;
    saved.nested = 0;
    *call = saved;
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
