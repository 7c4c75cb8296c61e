#include "capture/uprobe_link.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

namespace infertrail {
namespace {

Error refused(const std::string& what) {
  return Error{Code::kUnsupported, what + ": " + std::strerror(errno)};
}

// link_create of union bpf_attr with its uprobe_multi member (linux/bpf.h of 6.6).
struct MultiAttributes {
  uint32_t program;
  uint32_t target = 0;
  uint32_t type;
  uint32_t flags = 0;
  uint64_t path;
  uint64_t offsets;
  uint64_t ref_ctr_offsets = 0;
  uint64_t cookies;
  uint32_t count;
  uint32_t multi_flags;
  uint32_t pid = 0;   // 0: every process. The pid filter of the first kernels is wrong for threads.
  uint32_t reserved = 0;
};
constexpr uint32_t kMultiReturn = 1;   // BPF_F_UPROBE_MULTI_RETURN

int create_multi(int program, int type, bool at_return, const char* path, const std::vector<UprobePlace>& places) {
  std::vector<uint64_t> offsets, cookies;
  for (const UprobePlace& place : places) {
    offsets.push_back(place.offset);
    cookies.push_back(place.cookie);
  }
  MultiAttributes attributes{.program = static_cast<uint32_t>(program),
                             .type = static_cast<uint32_t>(type),
                             .path = reinterpret_cast<uint64_t>(path),
                             .offsets = reinterpret_cast<uint64_t>(offsets.data()),
                             .cookies = reinterpret_cast<uint64_t>(cookies.data()),
                             .count = static_cast<uint32_t>(places.size()),
                             .multi_flags = at_return ? kMultiReturn : 0};
  return static_cast<int>(syscall(SYS_bpf, BPF_LINK_CREATE, &attributes, sizeof(attributes)));
}

// The uprobe PMU: its number, and the bit of `config` that asks for the return. From sysfs, because
// both are the kernel's to choose (Documentation/ABI/testing/sysfs-bus-event_source-devices-format).
constexpr const char* kPmu = "/sys/bus/event_source/devices/uprobe/";

Result<perf_event_attr> probe_attributes(bool at_return) {
  perf_event_attr attributes{};
  attributes.size = sizeof(attributes);
  if (!(std::ifstream(std::string(kPmu) + "type") >> attributes.type))
    return Error{Code::kUnsupported, "this kernel has no uprobes (CONFIG_UPROBE_EVENTS)"};
  if (!at_return) return attributes;
  std::string format;
  std::ifstream(std::string(kPmu) + "format/retprobe") >> format;
  unsigned bit = 0;
  if (std::sscanf(format.c_str(), "config:%u", &bit) != 1 || bit > 63)
    return Error{Code::kUnsupported, "this kernel has no return probes: retprobe format \"" + format + "\""};
  attributes.config = 1ull << bit;
  return attributes;
}

Result<Fd> create_single(int program, bool at_return, const std::string& path, const UprobePlace& place) {
  TRY(perf_event_attr attributes, probe_attributes(at_return));
  attributes.uprobe_path = reinterpret_cast<uint64_t>(path.c_str());
  attributes.probe_offset = place.offset;
  // Every process: pid -1 needs a CPU, and the kernel ignores which for probes.
  Fd event(static_cast<int>(syscall(SYS_perf_event_open, &attributes, -1, 0, -1, PERF_FLAG_FD_CLOEXEC)));
  if (!event.valid()) return refused("perf_event_open");
  LIBBPF_OPTS(bpf_link_create_opts, options, .perf_event = {.bpf_cookie = place.cookie});
  // The link keeps the event.
  Fd link(bpf_link_create(program, event.get(), BPF_PERF_EVENT, &options));
  if (!link.valid()) return refused("link");
  return link;
}

}  // namespace

bool kernel_has_uprobe_multi() {
  const bpf_insn code[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, 0}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  LIBBPF_OPTS(bpf_prog_load_opts, options,
              .expected_attach_type = static_cast<bpf_attach_type>(kUprobeMultiType));
  Fd program(bpf_prog_load(BPF_PROG_TYPE_KPROBE, "it_multi", "GPL", code, std::size(code), &options));
  if (!program.valid()) return false;
  // A kernel that knows the link gets as far as looking at the file, which is no regular one.
  return create_multi(program.get(), kUprobeMultiType, false, "/", {{1, 0}}) < 0 && errno == EBADF;
}

Status attach_uprobes(int program, bool multi, bool at_return, const std::string& path,
                      const std::vector<UprobePlace>& places, std::vector<Fd>* out) {
  if (places.empty()) return {};
  if (multi) {
    Fd link(create_multi(program, kUprobeMultiType, at_return, path.c_str(), places));
    if (!link.valid()) return refused("uprobe_multi");
    out->push_back(std::move(link));
    return {};
  }
  for (const UprobePlace& place : places) {
    TRY(Fd link, create_single(program, at_return, path, place));
    out->push_back(std::move(link));
  }
  return {};
}

Status attach_session(int program, const std::string& path, const std::vector<UprobePlace>& places,
                      std::vector<Fd>* out) {
  if (places.empty()) return {};
  Fd link(create_multi(program, kUprobeSessionType, false, path.c_str(), places));
  if (!link.valid()) return refused("uprobe session");
  out->push_back(std::move(link));
  return {};
}

}  // namespace infertrail
