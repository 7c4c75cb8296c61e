// Attaches a program to places of one file, as one link where the kernel can: a detach waits for the
// kernel (70-90 ms in a small VM), so the number of links is what a stop costs.
//
// Always for every process that maps the file; who is a target is decided by the program.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/owned.h"
#include "base/result.h"

namespace infertrail {

#ifdef __x86_64__
constexpr uint64_t kReturnAddress = 8;   // on the stack at entry, gone at return
#else
constexpr uint64_t kReturnAddress = 0;
#endif

struct UprobePlace {
  uint64_t offset;   // in the file
  uint64_t cookie;   // bpf_get_attach_cookie() of the program there
};

// BPF_TRACE_UPROBE_MULTI of linux/bpf.h, Linux 6.6; the libc headers we build with lack it.
constexpr int kUprobeMultiType = 48;
// BPF_TRACE_UPROBE_SESSION, Linux 6.13: one program at the entry and at the return of a function. Its result
// at the entry says whether it wants the return: 1 = no, and that call then costs nothing there.
constexpr int kUprobeSessionType = 57;

// Whether this kernel takes all places of a file in one link (uprobe_multi, 6.6). A program that is
// loaded with expected_attach_type kUprobeMultiType can be attached in no other way.
bool kernel_has_uprobe_multi();

// Adds the links to `out`; on an error those that were made are in it. `path` is opened by the kernel.
// `multi`: the program was loaded for uprobe_multi. `at_return`: at the return of the function that
// begins at the place.
Status attach_uprobes(int program, bool multi, bool at_return, const std::string& path,
                      const std::vector<UprobePlace>& places, std::vector<Fd>* out);

// One link; `program` was loaded for kUprobeSessionType, the places are functions' first instructions.
Status attach_session(int program, const std::string& path, const std::vector<UprobePlace>& places,
                      std::vector<Fd>* out);

}  // namespace infertrail
