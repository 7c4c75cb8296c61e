// Intake: TLS objects, and the sockets that they are bound to.
#include <utility>

#include "daemon/clock.h"
#include "daemon/intake.h"

namespace infertrail {
namespace {

const char* bind_name(uint8_t method) {
  switch (method) {
    case IT_BIND_FP_EGRESS: return "fp_egress";
    case IT_BIND_GO_FD: return "go_fd";
    case IT_BIND_SET_FD: return "set_fd";
    default: return "unknown";
  }
}

}  // namespace

void Intake::on_tls_open(const abi::tls_open_event& event) {
  if (is_canary(event.tgid)) {
    canary_->object_opened(event.object);
    return refuse({event.object, true}, event.header.time_ns);   // what comes late is not kept either
  }
  if (!replaying_ && !targets_.is_target(event.tgid)) {
    targets_.on_refused_tls(event.tgid);
    return refuse({event.object, true}, event.header.time_ns);
  }
  objects_[event.object] = event.tgid;
  StreamMessage out = message(StreamMessage::Kind::kOpen, {event.object, true}, event.header.time_ns);
  out.facts = std::make_unique<StreamFacts>();
  out.facts->flow.set_tls(true);
  out.facts->flow.set_bind("unresolved");
  out.facts->process = identify({event.object, true}, event.tgid, nullptr).process;
  carry_control({event.object, true}, event);
  send(std::move(out));
}

void Intake::on_bind(const abi::bind_event& event) {
  if (canary_) canary_->object_bound(event.object);
  auto object = objects_.find(event.object);
  auto flow = flows_.find(event.cookie);
  if (object == objects_.end()) return;
  carry_control({event.object, true}, event);
  if (flow != flows_.end()) carry_.link({event.object, true}, {event.cookie, false});
  StreamMessage out = message(StreamMessage::Kind::kBind, {event.object, true}, event.header.time_ns);
  out.facts = std::make_unique<StreamFacts>();
  if (flow != flows_.end()) {
    *out.facts = flow->second.facts;
    out.facts->flow.set_bind(bind_name(event.method));
  }
  if (event.role != IT_ROLE_UNKNOWN) out.facts->role = event.role;
  out.facts->pre_attach = !(event.flags & IT_BIND_HELLO);
  out.facts->flow.set_pre_attach(out.facts->pre_attach);
  StreamFacts known = *out.facts;
  known.process = resolver_.process(object->second);
  coverage_.flow_bound(event.cookie, event.object, object->second, known);
  if (replaying_) {   // what came of it before is the kernel's to tell
    const auto ends = targets_.stream_ends(object->second);
    if (auto at = ends.find(event.object); at != ends.end())
      for (uint8_t side : {IT_IN, IT_OUT}) coverage_.plaintext(event.object, side, at->second[side]);
  }
  send(std::move(out));
}

void Intake::end_object(uint64_t object, const uint64_t* ends, uint64_t time_ns) {
  StreamMessage out = message(StreamMessage::Kind::kClose, {object, true}, time_ns);
  if (ends) {
    out.end[IT_IN] = ends[IT_IN];
    out.end[IT_OUT] = ends[IT_OUT];
    out.ends_known = true;
  }
  send(std::move(out));
  coverage_.object_closed(object, ends);
  objects_.erase(object);
}

void Intake::on_tls_close(const abi::tls_close_event& event) {
  if (canary_) canary_->object_closed(event.object);
  refused_.erase({true, event.object});
  if (objects_.contains(event.object)) end_object(event.object, event.end, event.header.time_ns);
}

// The object may still read or write; SSL_free is its end. Nothing to do but to know that a
// connection without SSL_free (a process that exits) ends with its process.
void Intake::on_tls_shutdown(const abi::tls_close_event&) {}

}  // namespace infertrail
