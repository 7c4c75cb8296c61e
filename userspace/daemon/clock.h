// Clocks of kernel and daemon. Thread-safe.
#pragma once

#include <cstdint>
#include <string>

namespace infertrail {

uint64_t unix_now_ns();
uint64_t monotonic_now_ns();   // as kernel timestamps
// A kernel timestamp (CLOCK_MONOTONIC nanoseconds) as UNIX nanoseconds.
uint64_t unix_time_ns(uint64_t monotonic_ns);

// Of the boot that CLOCK_MONOTONIC counts from (random/boot_id), "" when it cannot be read.
std::string boot_id();

}  // namespace infertrail
