#include "identity/resolver.h"

#include <time.h>

#include <chrono>
#include <filesystem>

namespace infertrail {
namespace {

// UNIX time of the boot clock's zero, nanoseconds.
int64_t boot_epoch_ns() {
  timespec boot{}, real{};
  clock_gettime(CLOCK_BOOTTIME, &boot);
  clock_gettime(CLOCK_REALTIME, &real);
  return (real.tv_sec - boot.tv_sec) * 1000000000ll + (real.tv_nsec - boot.tv_nsec);
}

// /proc rounds the start time to clock ticks (10 ms); the kernel's own value does not.
bool same_start(uint64_t a, uint64_t b) {
  constexpr uint64_t kTick = 10'000'000;
  return a / kTick == b / kTick;
}

Process to_message(const ProcessFacts& facts) {
  Process out;
  out.set_pid(facts.pid);
  out.set_ppid(facts.ppid);
  out.set_exe(facts.exe);
  out.set_comm(facts.comm);
  out.set_cmdline(command_line(facts.args));
  out.set_uid(facts.uid);
  out.set_user(user_name(facts.uid));
  out.set_cgroup(facts.cgroup);
  out.set_container_id(container_id_of(facts.cgroup));
  if (facts.start_boot_ns != 0) {
    const int64_t start = boot_epoch_ns() + static_cast<int64_t>(facts.start_boot_ns);
    out.mutable_start_time()->set_seconds(start / 1000000000);
    // To the millisecond: the two clocks drift below that, and the value must not change.
    out.mutable_start_time()->set_nanos(static_cast<int32_t>(start % 1000000000 / 1000000 * 1000000));
  }
  return out;
}

}  // namespace

ProcessFacts Resolver::note_exec(ProcessFacts from_kernel) {
  auto live = read_process(from_kernel.pid, proc_);
  if (live.ok() && same_start(live.value().start_boot_ns, from_kernel.start_boot_ns)) {
    if (live.value().exe.empty()) live.value().exe = from_kernel.exe;
    if (live.value().args.empty()) live.value().args = from_kernel.args;
    from_kernel = live.value();
  }
  std::lock_guard lock(mutex_);
  remember(from_kernel);
  return from_kernel;
}

void Resolver::note(const ProcessFacts& facts) {
  std::lock_guard lock(mutex_);
  remember(facts);
}

void Resolver::remember(const ProcessFacts& facts) {
  auto [at, fresh] = cache_.try_emplace(facts.pid);
  if (!fresh) by_age_.erase(at->second.age);
  by_age_.push_back(facts.pid);
  at->second = {facts, std::prev(by_age_.end())};
  if (cache_.size() > kMaxProcesses) {
    cache_.erase(by_age_.front());
    by_age_.pop_front();
  }
}

Process Resolver::process(uint32_t pid) {
  auto live = read_process(pid, proc_);
  std::lock_guard lock(mutex_);
  auto at = cache_.find(pid);
  if (live.ok() && !live.value().exe.empty()) {
    remember(live.value());
    return to_message(live.value());
  }
  // A process that is ending has a stat line but no executable any more.
  const bool same = at != cache_.end() &&
                    (!live.ok() || same_start(live.value().start_boot_ns, at->second.facts.start_boot_ns));
  if (same) return to_message(at->second.facts);
  Process unknown;
  unknown.set_pid(pid);
  return unknown;
}

std::string Resolver::link(const std::string& name) const {
  std::error_code error;
  auto target = std::filesystem::read_symlink(proc_ + "/" + name, error);
  return error ? "" : target.string();
}

// Looking at every descriptor of the host for each connection kept the capture thread busy for seconds. A
// descriptor that is still that socket is still the listener: a socket does not change its port.
std::optional<uint32_t> Resolver::listener(uint32_t pid, uint16_t port) {
  const std::string name_space = link(std::to_string(pid) + "/ns/net");
  const auto key = std::make_pair(name_space, port);
  std::unique_lock lock(mutex_);
  if (auto known = listeners_.find(key); known != listeners_.end()) {
    if (link(known->second.descriptor) == known->second.socket) return known->second.pid;
    listeners_.erase(known);
  }
  lock.unlock();
  uint64_t inode = 0;
  for (const ListeningSocket& socket : listening_sockets(pid, proc_))
    if (socket.port == port) inode = socket.inode;
  if (inode == 0) return std::nullopt;
  for (uint32_t candidate : list_processes(proc_))
    for (auto& [fd, held] : socket_descriptors(candidate, proc_)) {
      if (held != inode) continue;
      lock.lock();
      if (listeners_.size() >= kMaxListeners) listeners_.clear();
      if (!name_space.empty())   // else it cannot be told from another one's port
        listeners_[key] = {candidate, std::to_string(candidate) + "/fd/" + std::to_string(fd),
                           "socket:[" + std::to_string(inode) + "]"};
      return candidate;
    }
  return std::nullopt;
}

}  // namespace infertrail
