// Intake: sockets, and payload that came before its connection had one.
#include <arpa/inet.h>
#include <spdlog/spdlog.h>

#include <cstring>
#include <utility>

#include "daemon/clock.h"
#include "daemon/intake.h"

namespace infertrail {
namespace {

constexpr size_t kEarlyOwners = 16384;
constexpr size_t kRefused = 65536;
constexpr size_t kOrphans = 16384;

std::string endpoint(const uint8_t* address, uint16_t port) {
  char text[INET6_ADDRSTRLEN] = "";
  constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::memcmp(address, kMapped, sizeof(kMapped)) == 0) {
    inet_ntop(AF_INET, address + 12, text, sizeof(text));
    return std::string(text) + ":" + std::to_string(port);
  }
  inet_ntop(AF_INET6, address, text, sizeof(text));
  return "[" + std::string(text) + "]:" + std::to_string(port);
}

}  // namespace

void Intake::lose_orphan() {
  spdlog::warn("orphan_bytes={} state=lost reason=\"its connection never appeared\"", orphans_.front().bytes.size());
  orphans_lost_++;
  orphan_bytes_lost_ += orphans_.front().bytes.size();
  carry_.release(orphans_.front().carried);
  orphans_.pop_front();
}

Process Intake::peer_of(const abi::flow_open_event& event) {
  uint32_t pid = event.peer_tgid;
  // This end connected: the other is who listens there, when the address is this host's own.
  const bool same_host = std::memcmp(event.addresses.local, event.addresses.remote, 16) == 0;
  if (pid == 0 && event.role == IT_ROLE_CLIENT && same_host)
    pid = resolver_.listener(event.tgid, event.addresses.remote_port).value_or(0);
  return pid == 0 ? Process() : resolver_.process(pid);
}

// Bytes of a process that was held until decided may have come before its stream's opening: the
// worker drops them, and those that still come are dropped here. Nothing of it is recorded.
void Intake::refuse(StreamId stream, uint64_t time_ns) {
  if (refused_.size() >= kRefused) refused_.erase(refused_.begin());   // ids grow: the oldest
  refused_.insert({stream.tls, stream.id});
  carry_.forget(stream);
  send(message(StreamMessage::Kind::kForget, stream, time_ns));
}

void Intake::on_flow_open(const abi::flow_open_event& event) {
  if (is_canary(event.tgid)) return canary_->flow_opened();
  if (flows_.contains(event.cookie)) return;   // twice: a daemon was killed before the ring forgot it
  // What is replayed was a target's when it came.
  if (!replaying_ && !targets_.is_target(event.tgid)) return refuse({event.cookie, false}, event.header.time_ns);
  OpenFlow open;
  open.tgid = event.tgid;
  open.tls = event.flags & IT_FLOW_TLS;
  StreamFacts& facts = open.facts;
  const bool server = event.role == IT_ROLE_SERVER;
  const std::string local = endpoint(event.addresses.local, event.addresses.local_port);
  const std::string remote = endpoint(event.addresses.remote, event.addresses.remote_port);
  facts.flow.set_client(server ? remote : local);
  facts.flow.set_server(server ? local : remote);
  facts.flow.set_tls(open.tls);
  facts.flow.set_bind(open.tls ? "fp_egress" : "cgroup_skb");
  facts.flow.set_cookie(event.cookie);
  facts.flow.set_direction(server ? "served" : "called");
  facts.role = event.role;
  facts.pre_attach = event.flags & IT_FLOW_EXISTED;
  facts.flow.set_pre_attach(facts.pre_attach);
  Identity identity = identify({event.cookie, false}, event.tgid, &event);
  facts.process = std::move(identity.process);
  facts.peer = std::move(identity.peer);
  carry_control({event.cookie, false}, event);
  // Of an earlier daemon's connections it is judged what happens from now on.
  coverage_.flow_opened(event.cookie, event.tgid, open.tls, facts,
                        replaying_ ? unix_now_ns() : unix_time_ns(event.header.time_ns), replaying_);
  if (!open.tls) {
    StreamMessage out = message(StreamMessage::Kind::kOpen, {event.cookie, false}, event.header.time_ns);
    out.facts = std::make_unique<StreamFacts>(facts);
    send(std::move(out));
  }
  const bool plain = !open.tls;
  flows_[event.cookie] = std::move(open);
  if (plain) adopt_orphans(event);
  if (auto early = early_owners_.extract(event.cookie); !early.empty())
    set_owner(&flows_[event.cookie], event.cookie, early.mapped(), event.header.time_ns);
}

void Intake::adopt_orphans(const abi::flow_open_event& event) {
  for (auto at = orphans_.begin(); at != orphans_.end();) {
    if (std::memcmp(&at->addresses, &event.addresses, sizeof(event.addresses)) != 0) {
      ++at;
      continue;
    }
    StreamMessage out = message(StreamMessage::Kind::kData, {event.cookie, false}, event.header.time_ns);
    out.time_ns = at->time_ns;
    out.offset = at->sequence - event.base_in;
    carry_.own(at->carried, {event.cookie, false}, IT_IN, out.offset, at->bytes.size());
    out.bytes = std::move(at->bytes);
    send(std::move(out));
    at = orphans_.erase(at);
  }
}

void Intake::on_flow_close(const abi::flow_close_event& event) {
  refused_.erase({false, event.cookie});
  const bool never_opened = early_owners_.erase(event.cookie) > 0;
  auto at = flows_.find(event.cookie);
  if (never_opened && at == flows_.end()) carry_.drop_unused({event.cookie, false});
  if (at == flows_.end()) return;
  const OpenFlow& flow = at->second;
  if (!flow.tls || flow.begun_plain) {
    StreamMessage out = message(StreamMessage::Kind::kClose, {event.cookie, false}, event.header.time_ns);
    const uint64_t* ends = flow.tls ? flow.tls_from : event.end;
    out.end[IT_IN] = ends[IT_IN];
    out.end[IT_OUT] = ends[IT_OUT];
    out.ends_known = true;
    out.reset = event.reset != 0;
    send(std::move(out));
  } else {
    carry_.closed({event.cookie, false});   // no session will say so
  }
  if (flow.tls) coverage_.flow_closed(event.cookie, event.reset != 0, unix_time_ns(event.header.time_ns));
  flows_.erase(at);
}

void Intake::on_flow_owner(const abi::flow_owner_event& event) {
  auto at = flows_.find(event.cookie);
  if (at != flows_.end()) return set_owner(&at->second, event.cookie, event.tgid, event.header.time_ns);
  if (early_owners_.size() >= kEarlyOwners) {
    carry_.forget({early_owners_.begin()->first, false});
    early_owners_.erase(early_owners_.begin());
  }
  early_owners_[event.cookie] = event.tgid;
  carry_control({event.cookie, false}, event);
}

void Intake::set_owner(OpenFlow* flow, uint64_t cookie, uint32_t tgid, uint64_t time_ns) {
  if (flow->tgid == tgid) return;
  flow->tgid = tgid;
  if (replaying_) return;   // the identity that follows says who it is
  flow->facts.process = resolver_.process(tgid);
  carry_.identity({cookie, false}, flow->facts.process, flow->facts.peer);
  StreamMessage out = message(StreamMessage::Kind::kOwner, {cookie, false}, time_ns);
  out.facts = std::make_unique<StreamFacts>(flow->facts);
  if (!flow->tls || flow->begun_plain) {
    out.facts->flow.set_tls(false);
    out.facts->flow.set_bind("cgroup_skb");
    send(std::move(out));
  }
  coverage_.flow_owner(cookie, tgid, flow->facts.process);
}

// Its plain beginning stays a stream, which ends with the connection; the rest is a TLS flow like others.
void Intake::on_flow_tls(const abi::flow_tls_event& event) {
  auto at = flows_.find(event.cookie);
  if (at == flows_.end() || at->second.tls) return;
  OpenFlow& flow = at->second;
  flow.tls = flow.begun_plain = true;
  std::memcpy(flow.tls_from, event.from, sizeof(flow.tls_from));
  flow.facts.flow.set_tls(true);
  flow.facts.flow.set_bind("fp_egress");
  carry_control({event.cookie, false}, event);
  coverage_.flow_turned(event.cookie, flow.tgid, flow.facts,
                        replaying_ ? unix_now_ns() : unix_time_ns(event.header.time_ns), replaying_);
}

void Intake::on_flow_wire(const abi::flow_wire_event& event) { coverage_.flow_wire(event); }

void Intake::on_orphan(const abi::orphan_event& event, std::string_view payload) {
  if (orphans_.size() >= kOrphans) lose_orphan();
  const uint64_t carried =
      replaying_ ? replayed_handle_ : carry_.loose({reinterpret_cast<const char*>(&event), sizeof(event)}, payload);
  orphans_.push_back({event.addresses, static_cast<uint32_t>(event.data.offset),
                      unix_time_ns(event.data.header.time_ns), std::string(payload), carried});
}

}  // namespace infertrail
