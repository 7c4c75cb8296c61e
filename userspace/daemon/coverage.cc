#include "daemon/coverage.h"

#include <algorithm>
#include <utility>

namespace infertrail {
namespace {

constexpr uint64_t kDarkAfterNs = 3'000'000'000;
// A closed connection is judged this much later: its object's last bytes and end may come after it.
constexpr uint64_t kSettleNs = 1'000'000'000;
// More than a record of any version adds: 20 + 48 MAC + 16 IV + 16 padding (RFC 5246 6.2.3, RFC 8446 5.2).
constexpr uint64_t kPerRecord = 128;
// TLS 1.3 sends certificates and tickets as application data (RFC 8446 5.1).
constexpr uint64_t kHandshake = 16384;
// Records from the client that carry its handshake in TLS 1.3: Finished.
constexpr uint32_t kClientHandshakeRecords = 1;
// Ciphertext of a connection whose record borders are not known: more than any handshake.
constexpr uint64_t kUncounted = 65536;

bool in_step(const abi::flow_wire_event& wire, uint8_t side) {
  return (wire.state & (side == IT_IN ? IT_WIRE_LOST_IN : IT_WIRE_LOST_OUT)) == 0;
}

uint64_t handshake_bytes(const abi::flow_wire_event& wire) {
  return wire.state & IT_WIRE_OLD_TLS ? 0 : kHandshake;
}

}  // namespace

void Coverage::flow_opened(uint64_t cookie, uint32_t tgid, bool tls, const StreamFacts& facts, uint64_t time_ns,
                           bool inherited) {
  count(tgid, tls ? &ProcessCoverage::tls : &ProcessCoverage::plain, 1);
  if (!tls) return;
  Flow& flow = flows_[cookie];
  flow.facts = facts;
  flow.tgid = tgid;
  flow.opened_ns = time_ns;
  flow.missed = missed_;
  flow.inherited = inherited;
}

void Coverage::flow_turned(uint64_t cookie, uint32_t tgid, const StreamFacts& facts, uint64_t time_ns, bool inherited) {
  count(tgid, &ProcessCoverage::plain, -1);
  flow_opened(cookie, tgid, true, facts, time_ns, inherited);
}

void Coverage::flow_owner(uint64_t cookie, uint32_t tgid, const Process& process) {
  auto at = flows_.find(cookie);
  if (at == flows_.end() || at->second.tgid == tgid) return;
  Flow& flow = at->second;
  for (auto what : {&ProcessCoverage::tls, &ProcessCoverage::read, &ProcessCoverage::dark}) {
    if ((what == &ProcessCoverage::read && !flow.read) || (what == &ProcessCoverage::dark && !flow.dark)) continue;
    count(flow.tgid, what, -1);
    count(tgid, what, 1);
  }
  flow.tgid = tgid;
  flow.facts.process = process;
}

void Coverage::flow_bound(uint64_t cookie, uint64_t object, uint32_t tgid, const StreamFacts& facts) {
  auto at = flows_.find(cookie);
  if (at == flows_.end()) return;
  flow_owner(cookie, tgid, facts.process);   // the object's process is proof, the socket's a guess
  at->second.object = object;
  at->second.facts.role = facts.role;
  objects_[object].bound = true;
}

void Coverage::flow_wire(const abi::flow_wire_event& event) {
  auto at = flows_.find(event.cookie);
  if (at == flows_.end()) return;
  Flow& flow = at->second;
  if (flow.wire.cookie == 0) std::copy(event.end, event.end + 2, flow.first_end);
  flow.wire = event;
}

void Coverage::flow_closed(uint64_t cookie, bool reset, uint64_t time_ns) {
  auto at = flows_.find(cookie);
  if (at == flows_.end()) return;
  at->second.closed_ns = std::max<uint64_t>(time_ns, 1);
  at->second.reset = reset;
}

void Coverage::plaintext(uint64_t object, uint8_t side, uint64_t end) {
  uint64_t& known = objects_[object].end[side & 1];
  known = std::max(known, end);
}

void Coverage::object_closed(uint64_t id, const uint64_t* ends) {
  auto at = objects_.find(id);
  if (at == objects_.end()) return;
  if (!at->second.bound) {
    objects_.erase(at);
    return;
  }
  at->second.closed = true;
  if (!ends) return;
  for (uint8_t side : {IT_IN, IT_OUT}) at->second.end[side] = std::max(at->second.end[side], ends[side]);
}

void Coverage::process_ended(uint32_t tgid) {
  std::lock_guard lock(mutex_);
  processes_.erase(tgid);
}

const Coverage::Object* Coverage::object_of(const Flow& flow) const {
  auto at = flow.object ? objects_.find(flow.object) : objects_.end();
  return at == objects_.end() ? nullptr : &at->second;
}

// Application data on the wire, by what only application data can be.
bool Coverage::sends_silence(const Flow& flow) const {
  const uint8_t from_client = flow.facts.role == IT_ROLE_SERVER ? IT_IN : IT_OUT;
  const uint8_t from_server = from_client == IT_IN ? IT_OUT : IT_IN;
  const abi::flow_wire_event& wire = flow.wire;
  const bool old_tls = wire.state & IT_WIRE_OLD_TLS;
  if (wire.records[from_client] > (old_tls ? 0 : kClientHandshakeRecords)) return true;
  if (wire.sealed[from_server] > handshake_bytes(wire)) return true;
  const uint64_t grown = wire.end[0] - flow.first_end[0] + wire.end[1] - flow.first_end[1];
  return (!in_step(wire, IT_IN) || !in_step(wire, IT_OUT)) && grown > kUncounted;
}

void Coverage::judge(Flow& flow, uint64_t now_ns) {
  const Object* object = object_of(flow);
  const bool seen = object && object->end[0] + object->end[1] > 0;
  if (seen) {
    if (!std::exchange(flow.read, true)) count(flow.tgid, &ProcessCoverage::read, 1);
    flow.silent_ns = 0;
    return lower(flow);
  }
  if (flow.dark) return;
  if (!flow.object) {
    const bool moves = flow.wire.end[0] + flow.wire.end[1] > flow.first_end[0] + flow.first_end[1];
    if (flow.inherited && !moves) return;   // nothing of it since we are here
    if (flow.closed_ns || now_ns - std::min(now_ns, flow.opened_ns) > kDarkAfterNs)
      raise(flow, "this connection carries TLS and none of its plaintext was seen; see infertrail doctor");
    return;
  }
  if (!sends_silence(flow)) return;
  if (flow.silent_ns == 0) flow.silent_ns = now_ns;
  if (flow.closed_ns || now_ns - flow.silent_ns > kDarkAfterNs)
    raise(flow, "its TLS object is known and gives no plaintext: the program uses functions that are not probed");
}

Coverage::Finding Coverage::about(const Flow& flow, const char* what) {
  Finding out;
  out.facts = flow.facts;
  out.what = what;
  return out;
}

void Coverage::raise(Flow& flow, const std::string& note) {
  flow.dark = true;
  count(flow.tgid, &ProcessCoverage::dark, 1);
  {
    std::lock_guard lock(mutex_);
    totals_.dark_now++;
  }
  Finding finding = about(flow, "TLS NOT VISIBLE");
  finding.reason = "tls_not_visible";
  finding.note = note;
  tell(std::move(finding));
}

void Coverage::lower(Flow& flow) {
  if (!std::exchange(flow.dark, false)) return;
  count(flow.tgid, &ProcessCoverage::dark, -1);
  {
    std::lock_guard lock(mutex_);
    totals_.dark_now--;
  }
  Finding finding = about(flow, "TLS VISIBLE");
  finding.over = true;
  finding.note = "plaintext of this connection comes now; what it carried before is missing";
  tell(std::move(finding));
}

// Its totals, once no more can come.
void Coverage::settle(Flow& flow) {
  const Object* object = object_of(flow);
  // What an inherited one carried before is told by nobody here: its totals prove nothing.
  if (!object || flow.dark || flow.inherited) return;
  bool missing_any = false;
  for (uint8_t side : {IT_IN, IT_OUT}) {
    const uint64_t plain = object->end[side], sealed = flow.wire.sealed[side];
    const uint64_t most = plain + kPerRecord * flow.wire.records[side] + handshake_bytes(flow.wire);
    Finding finding = about(flow, "TLS PLAINTEXT MISSING");
    finding.direction = (side == IT_IN) == (flow.facts.role == IT_ROLE_SERVER) ? "request" : "response";
    finding.from = plain;
    if (sealed > most) {
      finding.to = plain + (sealed - most);
      finding.reason = missed_ != flow.missed ? "probe_missed" : "unhooked_lib";
      finding.note = "at least; somewhere in this direction: " + std::to_string(sealed) +
                     " bytes of ciphertext, " + std::to_string(plain) + " of plaintext" +
                     (side == IT_IN ? ". Bytes that the process never read look the same" : "");
    } else if (side == IT_IN && !(flow.wire.state & IT_WIRE_LATE) && plain > sealed + flow.wire.skipped[side]) {
      // What was written may never have left; what was read must have come.
      finding.what = "TLS PLAINTEXT OF ANOTHER CONNECTION";
      finding.to = plain;
      finding.from = 0;
      finding.reason = "bind_conflict";
      finding.note = std::to_string(plain) + " bytes were read and only " + std::to_string(sealed) + " came";
    } else {
      continue;
    }
    missing_any = true;
    tell(std::move(finding));
  }
  if (missing_any) count(flow.tgid, &ProcessCoverage::incomplete, 1);
}

void Coverage::tick(uint64_t now_ns) {
  for (auto at = flows_.begin(); at != flows_.end();) {
    Flow& flow = at->second;
    const bool over = flow.closed_ns && now_ns - std::min(now_ns, flow.closed_ns) >= kSettleNs;
    if (over || !flow.closed_ns) judge(flow, now_ns);
    if (!over) {
      ++at;
      continue;
    }
    settle(flow);
    if (flow.dark) {
      std::lock_guard lock(mutex_);
      totals_.dark_now--;
    }
    if (const Object* object = object_of(flow); object && object->closed) objects_.erase(flow.object);
    at = flows_.erase(at);
  }
}

void Coverage::finish(uint64_t now_ns) { tick(now_ns + kSettleNs); }

void Coverage::tell(Finding finding) const {
  if (tell_) tell_(finding);
}

void Coverage::count(uint32_t tgid, uint64_t ProcessCoverage::*what, int by) {
  std::lock_guard lock(mutex_);
  for (ProcessCoverage* each : {&processes_[tgid], &totals_.connections}) {
    uint64_t& value = each->*what;
    value = by < 0 && value == 0 ? 0 : value + static_cast<uint64_t>(static_cast<int64_t>(by));
  }
}

ProcessCoverage Coverage::of(uint32_t tgid) const {
  std::lock_guard lock(mutex_);
  auto at = processes_.find(tgid);
  return at == processes_.end() ? ProcessCoverage() : at->second;
}

CoverageTotals Coverage::totals() const {
  std::lock_guard lock(mutex_);
  return totals_;
}

}  // namespace infertrail
