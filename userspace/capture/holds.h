// Stop until attached: for selectors that end with ",stop". A process that such a selector names is stopped
// (SIGSTOP, by bpf/hold.h) where it executes, or maps executable, a file that was not looked at yet, and let
// go on (SIGCONT) when the file's probes are attached: its first plaintext is captured. A file that is known
// stops nobody, so that it is the first process of a file that pays, some milliseconds.
//
// Rules that keep the host safe:
// - nobody is stopped when the thread that attaches has not been there for 1 s (IT_HOLD_STALE_NS);
// - nobody is held longer than 1 s (IT_HOLD_MAX_NS), by a watchdog process (strict_watchdog.h) that also
//   continues everybody when this process dies, or hangs;
// - never stopped: pid 1 of the host, a traced process, this executable; a process that somebody
//   else stops as well stays stopped (needs the probe signal_generate).
// Limits: code that becomes executable by mprotect is not noticed. A parent that waits with WUNTRACED sees the
// stop; an interactive shell then takes the program for stopped by its user.
// Thread: the capture thread, but for counts(), from any. Borrows Probes, which must outlive it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"
#include "capture/strict_watchdog.h"
#include "infertrail/event.h"

namespace infertrail {

class Probes;

struct HoldCounts {
  bool on = false;         // some selector asks for it
  uint64_t stops = 0;      // processes stopped, since load
  uint64_t held_now = 0;
  uint64_t overdue = 0;    // went on before their probes were attached
  uint64_t refused = 0;    // not stopped: see above
};

class Holds {
 public:
  // Forgets what an earlier daemon held and knew.
  explicit Holds(const Probes& probes);
  // Lets everybody go on.
  ~Holds();
  Holds(const Holds&) = delete;

  // Who is stopped from here on: an entry for each selector with ",stop", with its name in the kernel, or none
  // for those that choose running processes. The first starts the watchdog, the last ends it.
  Status use(const std::vector<std::optional<abi::stop_name>>& selectors);
  bool on() const { return on_; }

  // Each round of the thread that attaches.
  void beat();

  // What the process waits for; look at its files after this.
  struct Wait {
    abi::file_key file{};
    uint64_t since_ns = 0;
    uint32_t number = 0;
  };
  std::optional<Wait> waiting(uint32_t tgid) const;
  // Its files were looked at: it goes on, unless it waits for another one meanwhile. -> nanoseconds held.
  std::optional<uint64_t> release(uint32_t tgid, const Wait& wait);
  // Nobody has to wait for this file any more; or again.
  void know(const abi::file_key& file);
  void forget(const abi::file_key& file);

  HoldCounts counts() const;

 private:
  void let_all_go() const;
  void set(uint32_t word, uint64_t value) const;
  uint64_t get(uint32_t word) const;

  const int words_, names_, held_, known_, stopped_;
  bool on_ = false;
  Watchdog watchdog_;
};

// For the watchdog: continues every process of the map `held` that is ours to continue and has waited longer
// than `older_ns`. `stopped`: who back-pressure holds stays stopped. -> how many.
size_t continue_held(int held_map, int stopped_map, uint64_t older_ns);

}  // namespace infertrail
