// What the reader of kernel events tells the keeper of targets, and asks it. An interface so that the
// reader (daemon/intake.h) can be driven by recorded events, without a kernel.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <vector>

#include "base/procfs.h"
#include "infertrail/event.h"

namespace infertrail {

class TargetEvents {
 public:
  virtual ~TargetEvents() = default;
  virtual void on_exec(uint32_t tgid, const ProcessFacts& facts, uint32_t state) = 0;
  virtual void on_fork(uint32_t parent, uint32_t child) = 0;
  virtual void on_exit(uint32_t tgid) = 0;
  virtual void on_mapped(uint32_t tgid) = 0;
  virtual void on_listen(uint32_t tgid, uint16_t port) = 0;
  // A TLS object of a process that was held and then not chosen: the kernel shall forget it.
  virtual void on_refused_tls(uint32_t tgid) = 0;
  // Looks at the mappings of processes that on_mapped() named. Each round.
  virtual void attach_pending() = 0;

  virtual bool is_target(uint32_t tgid) const = 0;
  // Where the streams of its TLS objects end, for a process that ends without closing them.
  virtual std::map<uint64_t, std::array<uint64_t, 2>> stream_ends(uint32_t tgid) const = 0;
  // What it read last and the kernel was still joining.
  virtual std::vector<abi::small_reads> waiting_reads(uint32_t tgid) const = 0;
};

}  // namespace infertrail
