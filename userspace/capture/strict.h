// Back-pressure `strict`: a process whose plaintext comes faster than the daemon reads is stopped
// (SIGSTOP, by bpf/strict.h, in the probe that found the data ring more than half full) and let go on
// (SIGCONT, here) when the ring is nearly empty again. Nothing of its TLS is lost, and it pays with time.
// Plain TCP is captured in softirqs, where no process can be stopped: there a segment that finds no room is
// left to TCP to repeat (bpf/strict_flow.h), and the connection pays with time.
//
// Rules that keep the host safe:
// - the kernel's half holds nobody when our heartbeat is older than 2 s;
// - nobody is held longer than max_hold, no connection longer than 10 s, and nobody when the ring has been
//   over the mark for max_hold: then everybody goes on, losses are counted as without strict until the ring
//   has emptied, and `unprotected` says so;
// - a watchdog process (strict_watchdog.h) continues who is stopped when this process dies;
// - pid 1 of the host and traced processes are never stopped; a process that somebody else stops as
//   well stays stopped (needs the probe signal_generate).
// Limit: one TLS call that is larger than the free half of the ring can overflow it alone.
// Thread: one of its own; counts() from any. Borrows Probes, which must outlive it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>

#include "capture/probes.h"
#include "capture/ring_fill.h"
#include "capture/strict_watchdog.h"

namespace infertrail {

struct StrictOptions {
  unsigned stop_percent = 50, continue_percent = 25;   // of the data ring
  std::chrono::milliseconds max_hold{10'000};
};

struct StrictCounts {
  uint64_t stops = 0;         // processes stopped, since load
  uint64_t held_now = 0;
  uint64_t unprotected = 0;   // times that nobody was held although the ring was over the mark
  uint64_t repeats = 0;       // segments of plain TCP that were left to TCP to repeat, since load
};

class Strict {
 public:
  // From here on producers are stopped.
  static Result<std::unique_ptr<Strict>> open(const Probes& probes, StrictOptions options = {});
  // For a daemon that is not strict: maps that outlived an earlier one may still say so.
  static Status disable(const Probes& probes);
  // Lets everybody go on, then ends the watchdog.
  ~Strict();
  Strict(const Strict&) = delete;

  StrictCounts counts() const;
  pid_t watchdog() const { return watchdog_.pid(); }

 private:
  Strict(const Probes& probes, StrictOptions options)
      : options_(options), words_(probes.map_fd("strict")), stopped_(probes.map_fd("stopped")),
        held_map_(probes.map_fd("held")) {}
  void run();
  void round();
  bool held_too_long(uint64_t waiting);
  void set(uint32_t word, uint64_t value) const;
  uint64_t get(uint32_t word) const;

  const StrictOptions options_;
  const int words_, stopped_, held_map_;
  RingFill fill_;
  Watchdog watchdog_;
  std::atomic<uint64_t> held_{0}, gave_up_{0};
  bool open_ = false;   // the mark is set: producers are held above it
  uint64_t over_since_ = 0;   // CLOCK_MONOTONIC ns; 0: the ring is not over the mark
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

// Continues every process of the map `stopped` that is ours to continue; one that waits for its probes as well
// (map `held`, holds.h) goes on when it has them. -> how many.
size_t continue_stopped(int stopped_map, int held_map);

}  // namespace infertrail
