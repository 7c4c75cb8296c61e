/* TLS objects: one per SSL * and generation. */
#ifndef INFERTRAIL_TLS_OBJECTS_H
#define INFERTRAIL_TLS_OBJECTS_H

#include "emit.h"

static __always_inline struct object_key key_of(u64 ssl) {
  struct object_key key = {.ssl = ssl, .tgid = bpf_get_current_pid_tgid() >> 32};
  return key;
}

static __always_inline struct tls_object *object_of(struct object_key *key) {
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, key);
  if (object) return object;
  struct tls_object fresh = {.id = __sync_fetch_and_add(&shared.next_object, 1)};
  if (bpf_map_update_elem(&tls_objects, key, &fresh, BPF_NOEXIST)) {
    count_loss(IT_LOSS_MAP_FULL, 0);
    return 0;
  }
  struct tls_open_event *event = RESERVE_CONTROL(struct tls_open_event, IT_TLS_OPEN);
  if (event) {
    event->object = fresh.id;
    event->ssl = key->ssl;
    event->tgid = key->tgid;
    event->reserved = 0;
    event->cgroup_id = bpf_get_current_cgroup_id();
    bpf_ringbuf_submit(event, 0);
  }
  return bpf_map_lookup_elem(&tls_objects, key);
}

#endif
