#include "daemon/intake.h"

#include <arpa/inet.h>
#include <spdlog/spdlog.h>

#include <cstring>
#include <utility>

#include "daemon/clock.h"

namespace infertrail {
namespace {

constexpr uint64_t kOrphanNs = 5'000'000'000;
constexpr size_t kBatch = 256;
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

std::string c_string(const uint8_t* bytes, size_t size) {
  const char* text = reinterpret_cast<const char*>(bytes);
  return std::string(text, strnlen(text, size));
}

const char* bind_name(uint8_t method) {
  switch (method) {
    case IT_BIND_FP_EGRESS: return "fp_egress";
    case IT_BIND_GO_FD: return "go_fd";
    case IT_BIND_SET_FD: return "set_fd";
    default: return "unknown";
  }
}

GapReason gap_reason(uint8_t loss) {
  switch (loss) {
    case IT_LOSS_FAULT: return GapReason::kFault;
    case IT_LOSS_KTLS: return GapReason::kKtls;
    default: return GapReason::kRingFull;
  }
}

StreamMessage message(StreamMessage::Kind kind, StreamId stream, uint64_t monotonic_ns) {
  StreamMessage out;
  out.kind = kind;
  out.stream = stream;
  out.time_ns = unix_time_ns(monotonic_ns);
  return out;
}

}  // namespace

void Intake::send(StreamMessage out) {
  const size_t worker = out.stream.id % workers_;
  auto& batch = batches_[worker];
  batch.push_back(std::move(out));
  if (batch.size() < kBatch) return;
  push_(worker, std::move(batch));
  batch.clear();
}

void Intake::flush() {
  for (auto& [worker, batch] : batches_) {
    if (batch.empty()) continue;
    push_(worker, std::move(batch));
    batch.clear();
  }
  targets_.attach_pending();
}

void Intake::replay(const Replayer& into) {
  replaying_ = true;
  CarryReplay replay;
  replay.resume = [&](StreamId stream, const Resume& point) {
    StreamMessage out = message(StreamMessage::Kind::kResume, stream, monotonic_now_ns());
    out.resume = std::make_unique<Resume>(point);
    send(std::move(out));
  };
  replay.evicted = [&](StreamId stream, uint8_t side, uint64_t from, uint64_t to) {
    StreamMessage out = message(StreamMessage::Kind::kLoss, stream, monotonic_now_ns());
    out.side = side;
    out.offset = from;
    out.end[0] = to;
    out.reason = GapReason::kDaemonDown;
    send(std::move(out));
  };
  replay.identity = [&](StreamId stream, const Process& process, const Process& peer) {
    take_identity(stream, {process, peer});
  };
  replay.control = replay.loss = into.control;
  replay.data = into.data;
  replay.ended = [&](StreamId stream) {
    if (stream.tls) ended_before_.push_back(stream.id);
  };
  replay.loose = [&](uint64_t handle, std::string_view record) {
    replayed_handle_ = handle;
    const auto& header = *reinterpret_cast<const abi::event_header*>(record.data());
    if (header.type == IT_EXIT)
      held_exits_.emplace_back(reinterpret_cast<const abi::process_event*>(record.data())->tgid, handle);
    (header.type == IT_EXIT ? into.control : into.data)(record);
  };
  carry_.replay(replay);
  identities_.clear();
  replaying_ = false;
  for (auto& [cookie, flow] : flows_)   // the kill came before the owner's identity was kept
    if (const uint32_t tgid = flow.tgid; flow.facts.process.pid() != tgid) {
      flow.tgid = 0;
      set_owner(&flow, cookie, tgid, monotonic_now_ns());
    }
  flush();
}

// The process may be gone by now, and its number another's: what was known then counts.
Intake::Identity Intake::identify(StreamId stream, uint32_t tgid, const abi::flow_open_event* flow) {
  if (replaying_)
    if (auto known = identities_.find({stream.tls, stream.id}); known != identities_.end()) return known->second;
  Identity identity{resolver_.process(tgid), flow ? peer_of(*flow) : Process()};
  if (!replaying_) carry_.identity(stream, identity.process, identity.peer);
  return identity;
}

void Intake::take_identity(StreamId stream, Identity identity) {
  auto flow = flows_.find(stream.id);
  if (!stream.tls && flow != flows_.end()) {   // its owner was found after its opening
    flow->second.facts.process = identity.process;
    flow->second.tgid = identity.process.pid();
    StreamMessage out = message(StreamMessage::Kind::kOwner, stream, monotonic_now_ns());
    out.facts = std::make_unique<StreamFacts>(flow->second.facts);
    if (!flow->second.tls) send(std::move(out));
  }
  identities_[{stream.tls, stream.id}] = std::move(identity);
}

// Until it is handed out nothing else holds it.
void Intake::on_held(const abi::event_header& header, std::string_view record) {
  const char* bytes = record.data();
  switch (header.type) {
    case IT_FLOW_CLOSE: {
      const StreamId flow{reinterpret_cast<const abi::flow_close_event*>(bytes)->cookie, false};
      return carry_.control(flow, record, true);
    }
    case IT_TLS_CLOSE: {
      const StreamId object{reinterpret_cast<const abi::tls_close_event*>(bytes)->object, true};
      return carry_.control(object, record, true);
    }
    case IT_LOSS: {
      const auto& loss = *reinterpret_cast<const abi::loss_event*>(bytes);
      if (refused_.contains({loss.is_tls != 0, loss.stream})) return;
      return carry_.loss({loss.stream, loss.is_tls != 0}, loss.direction, loss.from, loss.to, record);
    }
    case IT_EXIT:
      held_exits_.emplace_back(reinterpret_cast<const abi::process_event*>(bytes)->tgid, carry_.loose(record));
      return;
    default: return;   // nothing lives by it
  }
}

void Intake::tick(const std::vector<abi::small_reads>& waiting, uint64_t until_ns) {
  for (const abi::small_reads& reads : waiting) {
    if (!objects_.contains(reads.object)) continue;
    StreamMessage out = message(StreamMessage::Kind::kData, {reads.object, true}, reads.time_ns);
    out.offset = reads.start;
    out.bytes.assign(reinterpret_cast<const char*>(reads.bytes), reads.length);
    coverage_.plaintext(reads.object, IT_IN, reads.start + reads.length);
    send(std::move(out));
  }
  for (uint64_t object : std::exchange(ended_before_, {}))
    if (objects_.contains(object)) end_object(object, nullptr, monotonic_now_ns());
  const uint64_t now = unix_now_ns();
  coverage_.tick(now);
  if (canary_) canary_->caught_up();
  // By what was read, not by the clock: a daemon that lags has not seen the connection's opening yet.
  while (!orphans_.empty() && until_ns > orphans_.front().time_ns + kOrphanNs) lose_orphan();
  for (size_t worker = 0; worker < workers_; worker++) {
    StreamMessage tick;
    tick.kind = StreamMessage::Kind::kTick;
    tick.time_ns = until_ns;
    tick.stream.id = worker;   // any stream of that worker
    send(std::move(tick));
  }
}

void Intake::lose_orphan() {
  spdlog::warn("orphan_bytes={} state=lost reason=\"its connection never appeared\"", orphans_.front().bytes.size());
  orphans_lost_++;
  orphan_bytes_lost_ += orphans_.front().bytes.size();
  carry_.release(orphans_.front().carried);
  orphans_.pop_front();
}

void Intake::on_exec(const abi::exec_event& event) {
  if (is_canary(event.tgid)) return;
  ProcessFacts facts;
  facts.pid = event.tgid;
  facts.ppid = event.ppid;
  facts.uid = event.uid;
  facts.start_boot_ns = event.start_boot_ns;
  facts.comm = c_string(event.comm, sizeof(event.comm));
  facts.exe = c_string(event.filename, sizeof(event.filename));
  const char* args = reinterpret_cast<const char*>(event.args);
  for (uint32_t at = 0; at < event.args_length && at < IT_ARGS_MAX;) {
    facts.args.emplace_back(args + at, strnlen(args + at, event.args_length - at));
    at += static_cast<uint32_t>(facts.args.back().size()) + 1;
  }
  targets_.on_exec(event.tgid, resolver_.note_exec(std::move(facts)), event.state);
}

void Intake::on_fork(const abi::fork_event& event) { targets_.on_fork(event.parent, event.child); }
void Intake::on_mapped(const abi::process_event& event) { targets_.on_mapped(event.tgid); }
void Intake::on_listen(const abi::listen_event& event) { targets_.on_listen(event.tgid, event.port); }

void Intake::on_exit(const abi::process_event& event) {
  std::vector<uint64_t> ended;
  for (auto& [object, tgid] : objects_)
    if (tgid == event.tgid) ended.push_back(object);
  const auto ends = targets_.stream_ends(event.tgid);
  if (!ended.empty()) take_waiting(event);
  for (uint64_t object : ended) {
    carry_.ended({object, true});
    auto at = ends.find(object);
    end_object(object, at == ends.end() ? nullptr : at->second.data(), event.header.time_ns);
  }
  targets_.on_exit(event.tgid);
  coverage_.process_ended(event.tgid);
  if (held_exits_.empty() || held_exits_.front().first != event.tgid) return;
  carry_.release(held_exits_.front().second);
  held_exits_.pop_front();
}

// It ended without ending its objects (wget and git do): what the kernel was joining is in no ring.
void Intake::take_waiting(const abi::process_event& event) {
  for (const abi::small_reads& reads : targets_.waiting_reads(event.tgid)) {
    if (!objects_.contains(reads.object)) continue;
    abi::data_event data{};
    data.header = {IT_TLS_DATA, 0, static_cast<uint32_t>(sizeof(data) + reads.length), reads.time_ns};
    data.stream = reads.object;
    data.offset = reads.start;
    data.length = reads.length;
    data.tgid = event.tgid;
    data.direction = IT_IN;
    on_data(data, {reinterpret_cast<const char*>(reads.bytes), reads.length});
  }
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

void Intake::on_loss(const abi::loss_event& event) {
  if (refused_.contains({event.is_tls != 0, event.stream})) return;
  StreamMessage out = message(StreamMessage::Kind::kLoss, {event.stream, event.is_tls != 0}, event.header.time_ns);
  out.side = event.direction & 1;
  out.offset = event.from;
  out.end[0] = event.to;
  out.reason = gap_reason(event.reason);
  if (event.is_tls) coverage_.plaintext(event.stream, event.direction, event.to);
  send(std::move(out));
}

void Intake::on_data(const abi::data_event& event, std::string_view payload) {
  const bool tls = event.header.type == IT_TLS_DATA;
  if (tls && is_canary(event.tgid)) return canary_->data(event.stream, event.direction, payload);
  if (refused_.contains({tls, event.stream})) return;
  if (!replaying_)
    carry_.data({event.stream, tls}, event.direction, event.offset, {reinterpret_cast<const char*>(&event), sizeof(event)},
                payload);
  StreamMessage out = message(StreamMessage::Kind::kData, {event.stream, tls}, event.header.time_ns);
  out.side = event.direction;
  out.offset = event.offset;
  out.bytes.assign(payload);
  if (tls) coverage_.plaintext(event.stream, event.direction, event.offset + payload.size());
  send(std::move(out));
}

void Intake::on_orphan(const abi::orphan_event& event, std::string_view payload) {
  if (orphans_.size() >= kOrphans) lose_orphan();
  const uint64_t carried =
      replaying_ ? replayed_handle_ : carry_.loose({reinterpret_cast<const char*>(&event), sizeof(event)}, payload);
  orphans_.push_back({event.addresses, static_cast<uint32_t>(event.data.offset),
                      unix_time_ns(event.data.header.time_ns), std::string(payload), carried});
}

}  // namespace infertrail
