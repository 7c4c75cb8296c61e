#include "capture/strict.h"

#include <bpf/bpf.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "infertrail/event.h"

namespace infertrail {
namespace {

using namespace std::chrono_literals;

constexpr auto kIdle = 5ms, kHolding = 1ms;

uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

template <typename Each>
void for_each_stopped(int map, Each each) {
  std::vector<uint32_t> all;
  uint32_t key = 0, next = 0;
  for (const void* from = nullptr; bpf_map_get_next_key(map, from, &next) == 0; from = &key) {
    key = next;
    all.push_back(key);
  }
  for (uint32_t tgid : all) {
    abi::stopped_process entry{};
    if (bpf_map_lookup_elem(map, &tgid, &entry) == 0) each(tgid, entry);
  }
}

}  // namespace

size_t continue_stopped(int stopped_map, int held_map) {
  size_t out = 0;
  for_each_stopped(stopped_map, [&](uint32_t tgid, const abi::stopped_process& entry) {
    if (entry.foreign) return;   // whoever stopped it continues it; that SIGCONT takes it from the map
    // Out of the map first: if it runs into the mark again at once, its new entry must stay.
    bpf_map_delete_elem(stopped_map, &tgid);
    abi::held_process waits{};
    if (bpf_map_lookup_elem(held_map, &tgid, &waits) == 0) return;
    if (kill(static_cast<pid_t>(tgid), SIGCONT) == 0) out++;
  });
  return out;
}

Status Strict::disable(const Probes& probes) {
  const uint32_t mark = IT_STRICT_MARK;
  const uint64_t never = 0;
  if (bpf_map_update_elem(probes.map_fd("strict"), &mark, &never, BPF_ANY) != 0)
    return Error{Code::kIo, std::string("back-pressure: ") + std::strerror(errno)};
  continue_stopped(probes.map_fd("stopped"), probes.map_fd("held"));
  return {};
}

Result<std::unique_ptr<Strict>> Strict::open(const Probes& probes, StrictOptions options) {
  std::unique_ptr<Strict> strict(new Strict(probes, options));
  TRY(strict->fill_, RingFill::open(probes.data_fd()));
  TRY(strict->watchdog_, Watchdog::start(strict->words_, strict->stopped_, strict->held_map_));
  strict->set(IT_STRICT_SELF, static_cast<uint64_t>(getpid()));
  continue_stopped(strict->stopped_, strict->held_map_);   // of an earlier daemon, when the map is pinned
  strict->thread_ = std::thread([self = strict.get()] { self->run(); });
  return strict;
}

Strict::~Strict() {
  ending_ = true;
  if (thread_.joinable()) thread_.join();
  set(IT_STRICT_MARK, 0);
  // A call that passed the mark just before may still stop its process.
  for (int i = 0; i < 5; i++) {
    continue_stopped(stopped_, held_map_);
    std::this_thread::sleep_for(2ms);
  }
}

void Strict::set(uint32_t word, uint64_t value) const { bpf_map_update_elem(words_, &word, &value, BPF_ANY); }

uint64_t Strict::get(uint32_t word) const {
  uint64_t value = 0;
  return bpf_map_lookup_elem(words_, &word, &value) == 0 ? value : 0;
}

StrictCounts Strict::counts() const {
  return {get(IT_STRICT_STOPS), held_, get(IT_STRICT_UNPROTECTED) + get(IT_STRICT_REFUSED) + gave_up_,
          get(IT_STRICT_REPEATS)};
}

void Strict::run() {
  while (!ending_) {
    round();
    std::this_thread::sleep_for(held_ > 0 ? kHolding : kIdle);
  }
}

bool Strict::held_too_long(uint64_t waiting) {
  const uint64_t now = monotonic_ns(), limit = std::chrono::nanoseconds(options_.max_hold).count();
  if (waiting <= fill_.size() / 100 * options_.stop_percent) over_since_ = 0;
  else if (over_since_ == 0) over_since_ = now;
  bool out = over_since_ != 0 && now - over_since_ > limit;   // connections may be held, nobody knows which
  for_each_stopped(stopped_, [&](uint32_t, const abi::stopped_process& entry) {
    out |= !entry.foreign && now > entry.since_ns && now - entry.since_ns > limit;
  });
  return out;
}

void Strict::round() {
  set(IT_STRICT_HEARTBEAT, monotonic_ns());
  const uint64_t waiting = fill_.waiting();
  const bool low = waiting <= fill_.size() / 100 * options_.continue_percent;
  if (low && !open_) {
    over_since_ = 0;
    set(IT_STRICT_MARK, fill_.size() / 100 * options_.stop_percent);
    open_ = true;
  }
  if (open_ && held_too_long(waiting)) {
    spdlog::error("backpressure=given_up held_ms={} waiting_bytes={} effect=\"losses are counted until the ring is "
                  "empty again\"", options_.max_hold.count(), waiting);
    set(IT_STRICT_MARK, 0);
    open_ = false;
    gave_up_++;
    continue_stopped(stopped_, held_map_);
  }
  if (low) continue_stopped(stopped_, held_map_);
  uint64_t held = 0;
  for_each_stopped(stopped_, [&](uint32_t, const abi::stopped_process&) { held++; });
  held_ = held;
}

}  // namespace infertrail
