#include "kernel/recorder.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/bytes.h"
#include "base/crypto.h"

namespace infertrail::testing_kernel {
namespace {

using Ranges = std::map<uint64_t, uint64_t>;

void join(Ranges* ranges, uint64_t from, uint64_t to) {
  auto at = ranges->upper_bound(from);
  if (at != ranges->begin() && std::prev(at)->second >= from) --at;
  while (at != ranges->end() && at->first <= to) {
    from = std::min(from, at->first);
    to = std::max(to, at->second);
    at = ranges->erase(at);
  }
  if (to > from) (*ranges)[from] = to;
}

uint64_t total(const Ranges& ranges) {
  uint64_t out = 0;
  for (auto& [from, to] : ranges) out += to - from;
  return out;
}

// Who is told by a copy of `all`, without the bytes of others.
template <typename T, typename Mine>
std::vector<T> those(const std::map<uint64_t, T>& all, Mine mine) {
  std::vector<T> out;
  for (auto& [id, each] : all)
    if (mine(each)) out.push_back(each);
  return out;
}

}  // namespace

void Half::add(uint64_t offset, std::string_view payload) {
  records++;
  const uint64_t to = offset + payload.size();
  if (bytes.size() < to) bytes.resize(to);
  for (auto& [from, end] : seen) {
    const uint64_t a = std::max(from, offset), b = std::min(end, to);
    if (a < b && bytes.compare(a, b - a, payload.substr(a - offset, b - a)) != 0) contradiction = true;
  }
  std::memcpy(bytes.data() + offset, payload.data(), payload.size());
  join(&seen, offset, to);
}

uint64_t Half::seen_bytes() const { return total(seen); }

uint64_t Half::lost_bytes() const {
  Ranges both = seen;
  for (auto& [from, to] : lost) join(&both, from, to);
  return total(both) - total(seen);
}

std::string Half::sha() const {
  if (seen.size() > 1 || seen_bytes() != bytes.size()) return "hole";
  return hex(sha256(bytes));
}

std::vector<Object> Recorder::objects_of(uint32_t tgid) const {
  std::lock_guard lock(mutex_);
  return those(objects_, [&](const Object& each) { return each.tgid == tgid; });
}

std::vector<Flow> Recorder::flows_of(uint32_t tgid) const {
  std::lock_guard lock(mutex_);
  return those(flows_, [&](const Flow& each) { return each.open.tgid == tgid; });
}

void Recorder::forget() {
  std::lock_guard lock(mutex_);
  objects_.clear();
  flows_.clear();
  exited_.clear();
}

void Recorder::on_exec(const abi::exec_event& event) {
  ProcessFacts facts;
  facts.pid = event.tgid;
  facts.ppid = event.ppid;
  facts.start_boot_ns = event.start_boot_ns;
  facts.comm = reinterpret_cast<const char*>(event.comm);
  facts.exe = reinterpret_cast<const char*>(event.filename);
  targets_.on_exec(event.tgid, facts, event.state);
}

void Recorder::on_fork(const abi::fork_event& event) { targets_.on_fork(event.parent, event.child); }
void Recorder::on_mapped(const abi::process_event& event) { targets_.on_mapped(event.tgid); }
void Recorder::on_listen(const abi::listen_event& event) { targets_.on_listen(event.tgid, event.port); }

void Recorder::on_exit(const abi::process_event& event) {
  targets_.on_exit(event.tgid);
  std::lock_guard lock(mutex_);
  exited_.push_back(event.tgid);
}

void Recorder::on_flow_open(const abi::flow_open_event& event) {
  std::lock_guard lock(mutex_);
  Flow& flow = flows_[event.cookie];
  flow.open = event;
  flow.opens++;
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (std::memcmp(&at->addresses, &event.addresses, sizeof(event.addresses)) != 0) {
      ++at;
      continue;
    }
    flow.half[IT_IN].add(at->sequence - event.base_in, at->bytes);
    at = waiting_.erase(at);
  }
}

void Recorder::on_flow_close(const abi::flow_close_event& event) {
  std::lock_guard lock(mutex_);
  Flow& flow = flows_[event.cookie];
  flow.closed = true;
  std::memcpy(flow.end, event.end, sizeof(flow.end));
}

void Recorder::on_flow_wire(const abi::flow_wire_event& event) {
  std::lock_guard lock(mutex_);
  Flow& flow = flows_[event.cookie];
  flow.wire = event;
  flow.wires++;
}

void Recorder::on_flow_owner(const abi::flow_owner_event& event) {
  std::lock_guard lock(mutex_);
  flows_[event.cookie].owners.push_back(event.tgid);
}

void Recorder::on_flow_tls(const abi::flow_tls_event& event) {
  std::lock_guard lock(mutex_);
  Flow& flow = flows_[event.cookie];
  EXPECT_FALSE(flow.turned);
  flow.turned = true;
  std::memcpy(flow.tls_from, event.from, sizeof(flow.tls_from));
}

void Recorder::on_tls_open(const abi::tls_open_event& event) {
  std::lock_guard lock(mutex_);
  objects_[event.object].tgid = event.tgid;
  objects_[event.object].ssl = event.ssl;
}

void Recorder::on_tls_close(const abi::tls_close_event& event) {
  std::lock_guard lock(mutex_);
  Object& object = objects_[event.object];
  object.closed = true;
  std::memcpy(object.end, event.end, sizeof(object.end));
}

void Recorder::on_bind(const abi::bind_event& event) {
  std::lock_guard lock(mutex_);
  Object& object = objects_[event.object];
  object.cookie = event.cookie;
  object.role = event.role;
  object.method = event.method;
  object.binds++;
}

void Recorder::on_loss(const abi::loss_event& event) {
  std::lock_guard lock(mutex_);
  join(&stream(event.is_tls != 0, event.stream).half[event.direction & 1].lost, event.from, event.to);
}

void Recorder::on_data(const abi::data_event& event, std::string_view payload) {
  std::lock_guard lock(mutex_);
  data_records_++;
  Stream& to = stream(event.header.type == IT_TLS_DATA, event.stream);
  to.half[event.direction].add(event.offset, payload);
  to.data_tgid = event.tgid;
}

void Recorder::on_orphan(const abi::orphan_event& event, std::string_view payload) {
  std::lock_guard lock(mutex_);
  orphans_.emplace_back(payload);
  waiting_.push_back({event.addresses, static_cast<uint32_t>(event.data.offset), std::string(payload)});
}

}  // namespace infertrail::testing_kernel
