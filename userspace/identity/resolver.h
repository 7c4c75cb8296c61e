// Who a process is, kept from the moment it was seen, so that a record can still say it when the
// process is gone. Right after pid reuse: the start time decides.
//
// Thread-safe. Bounded: the oldest of kMaxProcesses is forgotten first.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/procfs.h"
#include "infertrail/record.pb.h"

namespace infertrail {

class Resolver {
 public:
  explicit Resolver(std::string proc = "/proc") : proc_(std::move(proc)) {}

  // What the kernel told at exec; completed from /proc while the process lives.
  ProcessFacts note_exec(ProcessFacts from_kernel);
  // What an earlier daemon knew about a process that may have ended since.
  void note(const ProcessFacts& facts);
  // Unknown: only the pid is set.
  Process process(uint32_t pid);
  // The process of this host that listens on the port, looking through `pid`'s network namespace.
  std::optional<uint32_t> listener(uint32_t pid, uint16_t port);

 private:
  static constexpr size_t kMaxProcesses = 8192, kMaxListeners = 1024;
  struct Listener {
    uint32_t pid = 0;
    std::string descriptor, socket;   // "PID/fd/N" and what it is
  };
  std::string link(const std::string& name) const;
  struct Entry {
    ProcessFacts facts;
    std::list<uint32_t>::iterator age;
  };
  void remember(const ProcessFacts& facts);

  const std::string proc_;
  std::mutex mutex_;
  std::unordered_map<uint32_t, Entry> cache_;
  std::list<uint32_t> by_age_;   // oldest first
  std::map<std::pair<std::string, uint16_t>, Listener> listeners_;   // by network namespace and port
};

}  // namespace infertrail
