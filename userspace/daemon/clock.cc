#include "daemon/clock.h"

#include <time.h>

#include "base/bytes.h"
#include "base/file.h"

namespace infertrail {
namespace {

uint64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

uint64_t unix_now_ns() { return clock_ns(CLOCK_REALTIME); }
uint64_t monotonic_now_ns() { return clock_ns(CLOCK_MONOTONIC); }

// The offset is read each time it is a second old: a stepped clock is followed.
uint64_t unix_time_ns(uint64_t monotonic_ns) {
  thread_local int64_t offset = 0;
  thread_local uint64_t read_at = 0;
  const uint64_t now = clock_ns(CLOCK_MONOTONIC);
  if (read_at == 0 || now - read_at > 1'000'000'000) {
    offset = static_cast<int64_t>(unix_now_ns()) - static_cast<int64_t>(now);
    read_at = now;
  }
  return static_cast<uint64_t>(static_cast<int64_t>(monotonic_ns) + offset);
}

std::string boot_id() {
  auto text = read_file("/proc/sys/kernel/random/boot_id");
  return text.ok() ? std::string(trim(text.value())) : "";
}

}  // namespace infertrail
