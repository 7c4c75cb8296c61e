// What /proc says about a process, as plain values. The root ("/proc") is an argument, so tests use
// a folder. A process may end at any moment: every reader returns an error then, never a guess.
// Format: proc(5). Thread-safe: no state.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace infertrail {

struct ProcessFacts {
  uint32_t pid = 0;
  uint32_t ppid = 0;
  uint32_t uid = 0;
  uint64_t start_boot_ns = 0;   // CLOCK_BOOTTIME, rounded to clock ticks by the kernel
  std::string exe;              // as its own mount namespace names it
  std::string comm;
  std::vector<std::string> args;
  std::string cgroup;           // v2 path, or the v1 pids path where v2 says "/"
};

struct Mapping {
  uint64_t begin = 0, end = 0;
  bool executable = false;
  uint64_t inode = 0;
  std::string path;   // may end in " (deleted)"
};

struct ListeningSocket {
  uint64_t inode = 0;
  uint16_t port = 0;
};

Result<ProcessFacts> read_process(uint32_t pid, const std::string& proc = "/proc");
std::vector<uint32_t> list_processes(const std::string& proc = "/proc");
Result<std::vector<Mapping>> read_mappings(uint32_t pid, const std::string& proc = "/proc");
// Socket inodes that the process holds, by descriptor number.
std::vector<std::pair<int, uint64_t>> socket_descriptors(uint32_t pid, const std::string& proc = "/proc");
// TCP listeners in the process's network namespace, IPv4 and IPv6.
std::vector<ListeningSocket> listening_sockets(uint32_t pid, const std::string& proc = "/proc");
// Ports that this very process listens on.
std::vector<uint16_t> listening_ports(uint32_t pid, const std::string& proc = "/proc");

// An executable's or mapping's path without the kernel's mark that the file was replaced.
std::string_view without_deleted(std::string_view path);
// Arguments joined by spaces.
std::string command_line(const std::vector<std::string>& args);
// 64 hex digits of a container runtime's cgroup name, or "".
std::string container_id_of(std::string_view cgroup);
// The user's name, or the number.
std::string user_name(uint32_t uid);
// The mount point of the cgroup v2 hierarchy, from <proc>/mounts; "" when there is none.
std::string cgroup2_mount(const std::string& proc = "/proc");

}  // namespace infertrail
