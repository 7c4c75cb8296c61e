// A process of its own that outlives the daemon for a moment: when the daemon is gone, however it went,
// it forbids further stops, continues every process that back-pressure (strict.h) or a selector with ",stop"
// (holds.h) had stopped, and ends. While the daemon lives it continues who has waited for its probes too long.
//
// It is this executable again, with three map descriptors and nothing else of the daemon's memory (which
// holds keys) or descriptors (which hold locks). It ignores the signals that end a service, so that it
// is there when its daemon ends; only SIGKILL for both at the same instant leaves what is stopped stopped.
// Thread: the one that owns it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <utility>

#include "base/owned.h"
#include "base/result.h"

namespace infertrail {

class Watchdog {
 public:
  static Result<Watchdog> start(int words_map, int stopped_map, int held_map);
  Watchdog() = default;
  // Ends it: its owner must have continued everybody.
  ~Watchdog();
  Watchdog(Watchdog&& other) noexcept { *this = std::move(other); }
  Watchdog& operator=(Watchdog&& other) noexcept {
    std::swap(pid_, other.pid_);
    return *this;
  }

  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

// For main(), before anything else: the exit code when this process was started as a watchdog.
std::optional<int> run_as_watchdog(int argc, char** argv);

}  // namespace infertrail
