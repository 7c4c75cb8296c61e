// What the BPF programs cannot do without, asked of the running kernel: so that a kernel that is too
// old is refused with what it lacks, and a distribution's kernel that carries it all is not refused for
// its number.
#pragma once

#include <string>

namespace infertrail {

// "" when nothing is missing; else a phrase for people: "bpf_loop (5.17), attach cookies (5.15)".
// Needs the rights to load programs; without them everything seems to be missing.
std::string missing_kernel_features();
// "6.1.0-56-cloud-amd64"
std::string kernel_release();

}  // namespace infertrail
