// The process that makes the canary's TLS exchange: this executable again, talking to itself over
// 127.0.0.1 with the libssl that it is linked with. Says known bytes by SSL_write and SSL_write_ex, reads
// them by SSL_read and SSL_read_ex, and ends.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string_view>

#include "base/owned.h"
#include "base/result.h"

namespace infertrail {

constexpr std::string_view kCanaryQuestion = "infertrail canary: is this seen? 0123456789abcdef 0123456789abcdef\n";
constexpr std::string_view kCanaryAnswer = "infertrail canary: it is. fedcba9876543210 fedcba9876543210 fedc\n";

struct CanaryChild {
  pid_t pid = -1;
  Fd gate;   // it waits until this is closed
};
Result<CanaryChild> start_canary();

// For main(): the exit code when this process was started as the canary; 0: both ends said all.
std::optional<int> run_as_canary(int argc, char** argv);

}  // namespace infertrail
