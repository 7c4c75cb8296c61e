#include "capture/holds.h"

#include <bpf/bpf.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "capture/map_keys.h"
#include "capture/probes.h"

namespace infertrail {
namespace {

uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// Back-pressure may hold it as well: whoever of the two is last lets it go on.
bool go_on(int stopped_map, uint32_t tgid) {
  abi::stopped_process other{};
  if (bpf_map_lookup_elem(stopped_map, &tgid, &other) == 0) return false;
  return kill(static_cast<pid_t>(tgid), SIGCONT) == 0;
}

}  // namespace

size_t continue_held(int held_map, int stopped_map, uint64_t older_ns) {
  size_t out = 0;
  const uint64_t now = monotonic_ns();
  for (const uint32_t tgid : keys_of<uint32_t>(held_map)) {
    abi::held_process entry{};
    if (bpf_map_lookup_elem(held_map, &tgid, &entry) != 0 || entry.foreign) continue;
    if (older_ns > 0 && (now < entry.since_ns || now - entry.since_ns < older_ns)) continue;
    if (bpf_map_delete_elem(held_map, &tgid) != 0) continue;   // somebody else was first
    if (go_on(stopped_map, tgid)) out++;
  }
  return out;
}

Holds::Holds(const Probes& probes)
    : words_(probes.map_fd("strict")), names_(probes.map_fd("stop_names")), held_(probes.map_fd("held")),
      known_(probes.map_fd("known_files")), stopped_(probes.map_fd("stopped")) {
  set(IT_HOLD_ON, 0);
  for (const auto& each : keys_of<abi::stop_name>(names_)) bpf_map_delete_elem(names_, &each);
  for (const auto& each : keys_of<abi::file_key>(known_)) bpf_map_delete_elem(known_, &each);
  continue_held(held_, stopped_, 0);
}

Holds::~Holds() {
  if (on()) let_all_go();
}

void Holds::set(uint32_t word, uint64_t value) const { bpf_map_update_elem(words_, &word, &value, BPF_ANY); }

uint64_t Holds::get(uint32_t word) const {
  uint64_t value = 0;
  return bpf_map_lookup_elem(words_, &word, &value) == 0 ? value : 0;
}

Status Holds::use(const std::vector<std::optional<abi::stop_name>>& selectors) {
  if (selectors.empty()) {
    if (!std::exchange(on_, false)) return {};
    let_all_go();
    watchdog_ = Watchdog();
  } else if (!on_) {
    TRY(watchdog_, Watchdog::start(words_, stopped_, held_));
    set(IT_STRICT_SELF, static_cast<uint64_t>(getpid()));
    struct stat own {};
    if (stat("/proc/self/exe", &own) == 0) {
      set(IT_HOLD_OWN_INODE, own.st_ino);
      set(IT_HOLD_OWN_SIZE, static_cast<uint64_t>(own.st_size));
    }
  }
  for (const auto& each : keys_of<abi::stop_name>(names_)) bpf_map_delete_elem(names_, &each);
  const uint8_t one = 1;
  for (const auto& name : selectors)
    if (name && bpf_map_update_elem(names_, &*name, &one, BPF_ANY) != 0)
      return Error{Code::kExhausted, std::string("stop until attached: ") + std::strerror(errno)};
  on_ = !selectors.empty();
  beat();
  set(IT_HOLD_ON, on_ ? 1 : 0);
  return {};
}

void Holds::let_all_go() const {
  set(IT_HOLD_ON, 0);
  for (int i = 0; i < 5; i++) {   // who has just passed the switch may still stop
    continue_held(held_, stopped_, 0);
    usleep(2000);
  }
}

void Holds::beat() {
  if (on()) set(IT_HOLD_HEARTBEAT, monotonic_ns());
}

std::optional<Holds::Wait> Holds::waiting(uint32_t tgid) const {
  abi::held_process entry{};
  if (bpf_map_lookup_elem(held_, &tgid, &entry) != 0) return std::nullopt;
  return Wait{entry.file, entry.since_ns, entry.number};
}

std::optional<uint64_t> Holds::release(uint32_t tgid, const Wait& wait) {
  abi::held_process entry{};
  // `foreign`: whoever stopped it continues it; that SIGCONT takes it from the map.
  if (bpf_map_lookup_elem(held_, &tgid, &entry) != 0 || entry.number != wait.number || entry.foreign) return std::nullopt;
  // Out of the map first: if it runs into the next file at once, its new entry must stay.
  if (bpf_map_delete_elem(held_, &tgid) != 0) return std::nullopt;
  go_on(stopped_, tgid);
  const uint64_t now = monotonic_ns();
  return now > wait.since_ns ? now - wait.since_ns : 0;
}

void Holds::know(const abi::file_key& file) {
  const uint8_t one = 1;
  bpf_map_update_elem(known_, &file, &one, BPF_ANY);
}

void Holds::forget(const abi::file_key& file) { bpf_map_delete_elem(known_, &file); }

HoldCounts Holds::counts() const {
  return {get(IT_HOLD_ON) != 0, get(IT_HOLD_STOPS), keys_of<uint32_t>(held_).size(), get(IT_HOLD_OVERDUE),
          get(IT_HOLD_REFUSED) + get(IT_HOLD_UNPROTECTED)};
}

}  // namespace infertrail
