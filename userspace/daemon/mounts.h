// The kernel's own file systems, where this process needs them and the host has not mounted them.
#pragma once

#include "base/result.h"

namespace infertrail {

// Moves this process into a mount namespace of its own (changes of the host still arrive, ours do
// not leave) and mounts tracefs and cgroup2 there if they are missing. Call before any thread is
// made. Nothing to do: no new namespace. An error is not fatal: probes that need them are missing.
Status mount_missing();

}  // namespace infertrail
