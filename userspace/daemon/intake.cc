#include "daemon/intake.h"

#include <spdlog/spdlog.h>

#include <cstring>
#include <utility>

#include "daemon/clock.h"

namespace infertrail {
namespace {

constexpr uint64_t kOrphanNs = 5'000'000'000;
constexpr size_t kBatch = 256;

std::string c_string(const uint8_t* bytes, size_t size) {
  const char* text = reinterpret_cast<const char*>(bytes);
  return std::string(text, strnlen(text, size));
}

GapReason gap_reason(uint8_t loss) {
  switch (loss) {
    case IT_LOSS_FAULT: return GapReason::kFault;
    case IT_LOSS_KTLS: return GapReason::kKtls;
    default: return GapReason::kRingFull;
  }
}

}  // namespace

StreamMessage Intake::message(StreamMessage::Kind kind, StreamId stream, uint64_t monotonic_ns) {
  StreamMessage out;
  out.kind = kind;
  out.stream = stream;
  out.time_ns = unix_time_ns(monotonic_ns);
  return out;
}

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

}  // namespace infertrail
