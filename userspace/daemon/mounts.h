// The kernel's own file systems, where this process needs them and the host has not mounted them.
#pragma once

#include <string>

#include "base/result.h"

namespace infertrail {

// The BPF file system where pins are kept, on the host and for good: what is pinned has to outlive this
// process, which a mount of its own would not. Nothing to do when it is there (systemd mounts it), or
// when `pin_dir` is elsewhere. An error is not fatal: nothing is pinned then. Before mount_missing().
Status mount_for_pins(const std::string& pin_dir);

// Moves this process into a mount namespace of its own (changes of the host still arrive, ours do
// not leave) and mounts tracefs and cgroup2 there if they are missing. Call before any thread is
// made. Nothing to do: no new namespace. An error is not fatal: probes that need them are missing.
Status mount_missing();

}  // namespace infertrail
