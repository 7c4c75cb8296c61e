#include "capture/targets.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <spdlog/spdlog.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cinttypes>
#include <cstring>

namespace infertrail {
namespace {

// Whether this end of an established connection called connect(): only then the SYN is among the
// bytes that the kernel counts as acknowledged. Read until no byte moves in between.
bool connected_actively(int fd) {
  for (int attempt = 0; attempt < 100; attempt++) {
    tcp_info before{}, after{};
    int queued = 0;
    socklen_t length = sizeof(before), again = sizeof(after);
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &before, &length) != 0 || ioctl(fd, SIOCOUTQ, &queued) != 0 ||
        getsockopt(fd, IPPROTO_TCP, TCP_INFO, &after, &again) != 0)
      return false;
    if (before.tcpi_bytes_acked != after.tcpi_bytes_acked || before.tcpi_bytes_sent != after.tcpi_bytes_sent ||
        before.tcpi_notsent_bytes != after.tcpi_notsent_bytes)
      continue;
    const uint64_t in_flight = static_cast<uint64_t>(queued) - before.tcpi_notsent_bytes;
    return before.tcpi_bytes_acked + in_flight == before.tcpi_bytes_sent - before.tcpi_bytes_retrans + 1;
  }
  return false;
}

}  // namespace

uint64_t Targets::steady_seconds() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

bool TargetInfo::chosen_by(const std::string& text) const {
  return selector == text || selector.starts_with(text + ": ");
}

Targets::Targets(Probes& probes, std::string proc) : probes_(probes), proc_(std::move(proc)), holds_(probes) {}

bool Targets::stops(const ProcessFacts& facts, const std::string& reason) const {
  return std::any_of(selectors_.begin(), selectors_.end(), [&](const Selector& each) {
    return each.stops() && (reason == each.text() || !each.match(facts, {}).empty());
  });
}

Status Targets::update_holds() {
  std::vector<std::optional<abi::stop_name>> names;
  for (const Selector& each : selectors_)
    if (each.stops()) names.push_back(each.stop_name());
  return holds_.use(names);
}

// It has waited for one file, and all its files were looked at since then.
void Targets::go_on(uint32_t tgid, const std::optional<Holds::Wait>& wait) {
  if (!wait) return;
  for (auto& [key, library] : libraries_) {
    if (key.second != wait->file.inode || library.size != wait->file.size || library.changed_ns != wait->file.changed_ns ||
        !library.users.contains(tgid))
      continue;   // the device is not compared: on overlayfs the kernel has another one
    holds_.know(wait->file);
    library.keys.push_back(wait->file);
    break;
  }
  const auto held = holds_.release(tgid, *wait);
  auto target = targets_.find(tgid);
  if (!held || target == targets_.end()) return;
  target->second.stops++;
  target->second.stopped_ns += *held;
  target->second.longest_stop_ns = std::max(target->second.longest_stop_ns, *held);
  spdlog::debug("target={} state=continued stopped_us={}", tgid, *held / 1000);
}

void Targets::tell_stop(const TargetInfo& info) {
  uint64_t& told = stops_told_[info.facts.pid];
  if (info.stops > told && tell_stops_) tell_stops_(info);
  told = info.stops;
}

Status Targets::add(const std::string& text, bool remembered) {
  TRY(Selector selector, Selector::parse(text));
  std::lock_guard lock(mutex_);
  for (const Selector& existing : selectors_)
    if (existing.text() == text) return {};
  // One that ended while no daemon ran is adopted: what it said waits in the ring.
  if (selector.pid() != 0 && !targets_.contains(selector.pid()) && !read_process(selector.pid(), proc_).ok())
    return Error{Code::kNotFound, "selector \"" + text + "\": no such process"};
  if (selector.port() != 0) TRY_STATUS(probes_.watch_port(selector.port()));
  selectors_.push_back(std::move(selector));
  if (auto status = update_holds(); !status.ok()) {
    selectors_.pop_back();
    return status;
  }
  if (remembered) probes_.remember_selector(text);
  update_take_new();   // before the sweep: a process that starts in between is held, not missed
  prepare_executables();
  sweep_processes(true);
  if (selectors_.back().stops())
    for (auto& [tgid, info] : targets_)   // those that another selector has chosen before
      if (stops(info.facts, info.selector)) TRY_STATUS(probes_.select(tgid, true));
  return {};
}

Status Targets::remove(const std::string& text) {
  std::lock_guard lock(mutex_);
  auto at = std::find_if(selectors_.begin(), selectors_.end(),
                         [&](const Selector& each) { return each.text() == text; });
  if (at == selectors_.end())
    return Error{Code::kNotFound, "no such selector \"" + text + "\"; see `infertrail target list`"};
  if (at->port() != 0) probes_.unwatch_port(at->port());
  selectors_.erase(at);
  TRY_STATUS(update_holds());
  probes_.forget_selector(text);
  update_take_new();
  std::vector<uint32_t> gone;
  for (auto& [tgid, info] : targets_)
    if (info.chosen_by(text)) gone.push_back(tgid);
  for (uint32_t tgid : gone) drop(tgid);
  sweep_processes(true);   // another selector may still choose them
  return {};
}

std::vector<std::string> Targets::selectors() const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const Selector& each : selectors_) out.push_back(each.text());
  return out;
}

std::vector<TargetInfo> Targets::list() const {
  std::lock_guard lock(mutex_);
  std::vector<TargetInfo> out;
  for (auto& [tgid, info] : targets_) {
    out.push_back(info);
    for (auto& [key, library] : libraries_) {
      if (!library.users.contains(tgid)) continue;
      if (library.probed()) out.back().libraries.push_back(library.path);
      if (!library.problem.empty()) out.back().problems.push_back(library.path + ": " + library.problem);
      if (!library.silent.empty()) out.back().problems.push_back(library.path + ": " + library.silent);
      if (!library.unreadable.empty()) out.back().unreadable.push_back(library.path + ": " + library.unreadable);
    }
  }
  return out;
}

std::vector<TargetInfo> Targets::discover() const {
  auto selector = Selector::parse("auto");
  std::vector<TargetInfo> out;
  for (uint32_t pid : list_processes(proc_)) {
    auto facts = read_process(pid, proc_);
    if (!facts.ok() || facts.value().exe.empty()) continue;
    std::string reason = selector.value().match(facts.value(), listening_ports(pid, proc_));
    if (reason.empty()) continue;
    out.emplace_back();
    out.back().facts = facts.value();
    out.back().selector = reason;
  }
  return out;
}

std::string Targets::why(const ProcessFacts& facts, bool with_ports) const {
  if (facts.pid == static_cast<uint32_t>(getpid())) return "";
  std::optional<std::vector<uint16_t>> ports;
  for (const Selector& selector : selectors_) {
    if (selector.needs_ports() && with_ports && !ports) ports = listening_ports(facts.pid, proc_);
    std::string reason = selector.match(facts, ports.value_or(std::vector<uint16_t>{}));
    if (!reason.empty()) return reason;
  }
  return "";
}

void Targets::update_take_new() {
  bool by_name = false;
  for (const Selector& selector : selectors_) by_name |= selector.pid() == 0 && selector.port() == 0;
  if (by_name || !restoring_) probes_.take_new(by_name);
}

void Targets::choose(const ProcessFacts& facts, const std::string& selector) {
  auto [at, fresh] = targets_.try_emplace(facts.pid);
  at->second.facts = facts;
  at->second.selector = selector;
  if (auto status = probes_.select(facts.pid, stops(facts, selector)); !status.ok()) {
    spdlog::error("target={} error=\"{}\"", facts.pid, status.error().message);
    at->second.problems = {status.error().message};
    return;
  }
  probes_.remember(facts, selector);
  if (fresh) spdlog::info("target={} exe={} selector=\"{}\"", facts.pid, facts.exe, selector);
  watch_existing_sockets(facts.pid);
  scan_libraries(facts.pid);
}

void Targets::drop(uint32_t tgid) {
  probes_.deselect(tgid);
  probes_.forget(tgid);
  if (auto at = targets_.find(tgid); at != targets_.end()) tell_stop(at->second);
  stops_told_.erase(tgid);
  targets_.erase(tgid);
  pending_.erase(tgid);
  for (auto& [key, library] : libraries_) {
    library.users.erase(tgid);
    if (library.users.empty() && library.unused_since == 0) library.unused_since = steady_seconds();
  }
}

void Targets::on_exec(uint32_t tgid, const ProcessFacts& facts, uint32_t state) {
  std::lock_guard lock(mutex_);
  const auto wait = holds_.waiting(tgid);
  std::string reason = why(facts, false);
  auto known = targets_.find(tgid);
  if (reason.empty() && known != targets_.end()) reason = known->second.selector;   // child of a target
  if (!reason.empty()) {
    scan_libraries(tgid);   // before all else: it runs meanwhile
    choose(facts, reason);
  } else if (state != 0) {
    probes_.deselect(tgid);
  }
  go_on(tgid, wait);
}

void Targets::on_fork(uint32_t parent, uint32_t child) {
  std::lock_guard lock(mutex_);
  auto at = targets_.find(parent);
  if (at == targets_.end()) {
    // The parent was pending when it forked and its exec, which came before, did not choose it; the
    // kernel has made the child pending too, and without an exec of its own nobody would decide.
    probes_.deselect(child);
    return;
  }
  TargetInfo info;
  info.facts = at->second.facts;
  info.selector = at->second.selector;
  if (auto facts = read_process(child, proc_); facts.ok()) info.facts = facts.value();
  info.facts.pid = child;
  probes_.remember(info.facts, info.selector);
  targets_[child] = std::move(info);
  for (auto& [key, library] : libraries_)
    if (library.users.contains(parent)) library.users.insert(child);
}

void Targets::on_exit(uint32_t tgid) {
  std::lock_guard lock(mutex_);
  if (targets_.contains(tgid))
    drop(tgid);
  else
    probes_.forget(tgid);
}

void Targets::on_refused_tls(uint32_t tgid) {
  std::lock_guard lock(mutex_);
  if (!targets_.contains(tgid)) probes_.forget(tgid);
}

void Targets::on_mapped(uint32_t tgid) {
  std::lock_guard lock(mutex_);
  pending_.insert(tgid);
}

void Targets::on_listen(uint32_t tgid, uint16_t port) {
  std::lock_guard lock(mutex_);
  bool by_port = false;
  for (const Selector& selector : selectors_)
    by_port |= selector.needs_ports() && (selector.port() == 0 || selector.port() == port);
  if (!by_port || targets_.contains(tgid)) return;
  auto facts = read_process(tgid, proc_);
  if (!facts.ok()) return;
  if (std::string reason = why(facts.value(), true); !reason.empty()) choose(facts.value(), reason);
}

void Targets::attach_pending() {
  std::lock_guard lock(mutex_);
  std::set<uint32_t> pending;
  pending.swap(pending_);
  holds_.beat();
  for (uint32_t tgid : pending) {
    const auto wait = holds_.waiting(tgid);
    if (targets_.contains(tgid)) scan_libraries(tgid);
    go_on(tgid, wait);
  }
}

// Sockets that a process had before it became a target: listeners, so that what they accept is
// captured, and connections, whose beginning is then named as missing.
void Targets::watch_existing_sockets(uint32_t tgid) {
  Fd process(static_cast<int>(syscall(SYS_pidfd_open, tgid, 0)));
  if (!process.valid()) return;
  for (auto& [number, inode] : socket_descriptors(tgid, proc_)) {
    Fd copy(static_cast<int>(syscall(SYS_pidfd_getfd, process.get(), number, 0)));
    if (!copy.valid()) continue;
    int type = 0, domain = 0, listening = 0;
    socklen_t length = sizeof(int);
    if (getsockopt(copy.get(), SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_STREAM) continue;
    if (getsockopt(copy.get(), SOL_SOCKET, SO_DOMAIN, &domain, &length) != 0 ||
        (domain != AF_INET && domain != AF_INET6))
      continue;
    getsockopt(copy.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &length);
    uint32_t flags = IT_SOCK_WATCH | (listening ? 0u : IT_SOCK_EXISTED);
    if (!listening && connected_actively(copy.get())) flags |= IT_SOCK_ACTIVE;
    if (auto status = probes_.watch_socket(copy.get(), tgid, flags); !status.ok())
      spdlog::warn("target={} error=\"{}\"", tgid, status.error().message);
  }
}

void Targets::sweep_processes(bool with_ports) {
  for (uint32_t pid : list_processes(proc_)) {
    if (targets_.contains(pid)) continue;
    auto facts = read_process(pid, proc_);
    if (!facts.ok() || facts.value().exe.empty()) continue;   // ended, or a kernel thread
    if (std::string reason = why(facts.value(), with_ports); !reason.empty()) choose(facts.value(), reason);
  }
}

void Targets::sweep(bool drained) {
  std::lock_guard lock(mutex_);
  sweep_processes(false);   // listen() events tell about ports
  if (drained) decide_strays();
  std::set<uint32_t> gone;
  for (auto& [tgid, info] : targets_) {
    if (kill(static_cast<pid_t>(tgid), 0) != 0 && errno == ESRCH)
      gone.insert(tgid);
    else
      scan_libraries(tgid);
  }
  if (drained)   // what it did before it ended was handed out, and its end was not: that event was lost
    for (uint32_t tgid : gone)
      if (gone_.contains(tgid)) drop(tgid);
  gone_ = std::move(gone);
  for (auto& [tgid, info] : targets_) tell_stop(info);
  prepare_executables();
  check_libraries();
  release_libraries(drained);
}

bool Targets::is_target(uint32_t tgid) const {
  std::lock_guard lock(mutex_);
  return targets_.contains(tgid);
}

}  // namespace infertrail
