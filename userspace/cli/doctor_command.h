// What this host offers, as far as it can be seen without the daemon.
#pragma once

#include <sys/types.h>

#include <string>

#include "cli/terminal.h"
#include "infertrail/control.pb.h"

namespace infertrail::cli {

// Where to look; arguments, so that tests use a folder.
struct Host {
  std::string proc = "/proc", sys = "/sys";
  std::string kernel_release;   // as uname says
  uid_t uid = 0;                // effective
};

DoctorReply local_checks(const Host& host);
std::string doctor_text(const DoctorReply& reply, const Style& style);

}  // namespace infertrail::cli
