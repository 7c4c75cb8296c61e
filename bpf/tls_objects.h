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

/* The end of an object; the first of two that find it ended says so. */
static __always_inline void go_end(struct object_key *key, struct tls_object *object) {
  struct tls_object last = *object;
  if (bpf_map_delete_elem(&tls_objects, key)) return;
  struct tls_close_event *event = RESERVE_CONTROL(struct tls_close_event, IT_TLS_CLOSE);
  if (!event) return;
  event->object = last.id;
  event->end[IT_IN] = last.offset[IT_IN];
  event->end[IT_OUT] = last.offset[IT_OUT];
  bpf_ringbuf_submit(event, 0);
}

#define GO_CLOSED 1   /* tls_object.closing: no call begins any more */
#define GO_RESET 2    /* its socket is in error and still open: what came before it may be read */

/* The socket of a Go object is closed: its process, which may never call (*Conn).Close, has closed the
 * descriptor, or the peer has reset it. Calls in flight still return: the last of them ends the object. */
static __always_inline void go_socket_closed(struct object_key *key, u64 id, int still_open) {
  struct tls_object *object = bpf_map_lookup_elem(&tls_objects, key);
  if (!object || object->id != id || !object->go) return;
  if (!object->closing) object->closing = still_open ? GO_RESET : GO_CLOSED;
  if (!object->calls && !still_open) go_end(key, object);
}

#endif
