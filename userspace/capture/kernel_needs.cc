#include "capture/kernel_needs.h"

#include <bpf/libbpf.h>
#include <sys/utsname.h>

namespace infertrail {
namespace {

struct Need {
  bpf_prog_type program;
  bpf_func_id helper;
  const char* name;   // and the first kernel that has it
};

// Only what came after 5.10: an older kernel is far from everything else too.
const Need kNeeds[] = {
    {BPF_PROG_TYPE_KPROBE, BPF_FUNC_get_attach_cookie, "attach cookies (5.15)"},
    {BPF_PROG_TYPE_KPROBE, BPF_FUNC_loop, "bpf_loop (5.17)"},
};

}  // namespace

std::string missing_kernel_features() {
  std::string out;
  for (const Need& need : kNeeds) {
    // 1 yes, 0 no; an error means that it could not be asked: the load will tell.
    if (libbpf_probe_bpf_helper(need.program, need.helper, nullptr) == 0)
      out += (out.empty() ? "" : ", ") + std::string(need.name);
  }
  return out;
}

std::string kernel_release() {
  utsname name{};
  return uname(&name) == 0 ? name.release : "of unknown version";
}

}  // namespace infertrail
