// Proves now and then that the probes fire: a child process makes a known TLS exchange over loopback, is
// a target while it does, and everything that the kernel tells about it must come and be right: both
// connections, both TLS objects, which belongs to which (BIND), every byte that was said and read, both
// ends. It never reaches a worker, and so never the trail.
//
// It runs only while a target uses the same libssl file: to probe a library that no target uses would
// cost every process that does. Other libraries are watched by what the wire carries (coverage.h).
// Thread: fly() on the main thread; what the kernel tells comes on the capture thread, by watch(); fill()
// from any. Borrows Probes and Targets.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

#include "capture/probes.h"
#include "capture/targets.h"
#include "daemon/canary_watch.h"
#include "infertrail/control.pb.h"

namespace infertrail {

class Canary {
 public:
  enum class Outcome { kIdle, kSeen, kNotSeen };
  struct State {
    Outcome outcome = Outcome::kIdle;
    std::string detail;           // what was not seen, or why it did not run
    uint64_t last_seen_ns = 0;    // UNIX
  };

  Canary(Probes& probes, const Targets& targets, std::chrono::milliseconds every)
      : probes_(probes), targets_(targets), every_(every) {}

  // When it is due: one exchange, some milliseconds, or seconds when something is not seen. -> whether
  // there was one, or a reason against it.
  bool fly();
  State state() const;
  void fill(CanaryReport* out) const;
  CanaryWatch& watch() { return watch_; }

 private:
  State exchange();

  Probes& probes_;
  const Targets& targets_;
  const std::chrono::milliseconds every_;
  std::chrono::steady_clock::time_point next_{};
  CanaryWatch watch_;
  mutable std::mutex mutex_;
  State state_;
};

}  // namespace infertrail
