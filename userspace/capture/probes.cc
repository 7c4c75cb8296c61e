#include "capture/probes.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/procfs.h"
#include "capture/kernel_needs.h"
#include "capture/skeleton.h"
#include "capture/uprobe_link.h"

namespace infertrail {
namespace {

std::string reason(int error) { return std::strerror(error < 0 ? -error : error); }

int log_to_spdlog(libbpf_print_level level, const char* format, va_list args) {
  if (level == LIBBPF_DEBUG) return 0;
  char line[1024];
  int n = std::vsnprintf(line, sizeof(line), format, args);
  if (n > 0 && line[std::min<size_t>(static_cast<size_t>(n), sizeof(line) - 1) - 1] == '\n')
    line[std::min<size_t>(static_cast<size_t>(n), sizeof(line) - 1) - 1] = '\0';
  spdlog::debug("libbpf: {}", line);
  return n;
}

void detach(std::vector<bpf_link*>& links) {
  for (bpf_link* link : links) bpf_link__destroy(link);
  links.clear();
}

template <typename Key>
void forget_keys(int map, uint32_t tgid) {
  std::vector<Key> dead;
  Key key{}, next{};
  const void* from = nullptr;
  while (bpf_map_get_next_key(map, from, &next) == 0) {
    key = next;
    from = &key;
    if (key.tgid == tgid) dead.push_back(key);
  }
  for (const Key& each : dead) bpf_map_delete_elem(map, &each);
}

bool kernel_has_kprobes() {
  // The PMU exists only where CONFIG_KPROBE_EVENTS does; lockdown refuses later, at attach.
  return access("/sys/bus/event_source/devices/kprobe/type", R_OK) == 0;
}

}  // namespace

Result<std::unique_ptr<Probes>> Probes::open(const ProbeOptions& options) {
  libbpf_set_print(log_to_spdlog);
  if (geteuid() != 0)
    return Error{Code::kPermission,
                 "capture needs root (or CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_PTRACE): "
                 "start with sudo"};
  if (access("/sys/kernel/btf/vmlinux", R_OK) != 0)
    return Error{Code::kUnsupported,
                 "this kernel has no BTF (/sys/kernel/btf/vmlinux): use a kernel built with "
                 "CONFIG_DEBUG_INFO_BTF, 6.1 or later"};
  std::unique_ptr<Probes> probes(new Probes());
  TRY_STATUS(probes->load(options));
  TRY_STATUS(probes->attach(options));
  return probes;
}

Status Probes::load(const ProbeOptions& options) {
  object_ = infertrail_bpf__open();
  if (!object_) return Error{Code::kIo, "open BPF object: " + reason(errno)};
  bpf_map__set_max_entries(object_->maps.data_ring, static_cast<uint32_t>(options.data_ring_bytes));
  bpf_map__set_max_entries(object_->maps.control_ring, static_cast<uint32_t>(options.control_ring_bytes));
  if (!kernel_has_kprobes()) {
    bpf_program__set_autoload(object_->progs.tcp_send_enter, false);
    bpf_program__set_autoload(object_->progs.tcp_receive_enter, false);
  }
  if (const std::string lacks = missing_kernel_features(); !lacks.empty())
    return Error{Code::kUnsupported, "kernel " + kernel_release() + " lacks " + lacks +
                                         ": capture needs kernel 6.1 or later"};
  // A sleepable program may hold a ring record while a page does not come: nobody's events pass then.
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object_->obj)
    IT_CHECK((bpf_program__flags(program) & BPF_F_SLEEPABLE) == 0);
  gnutls_binding_ = options.gnutls_binding;
  uprobe_multi_ = kernel_has_uprobe_multi();
  if (uprobe_multi_)
    for (bpf_program* program : {object_->progs.tls_enter, object_->progs.tls_exit, object_->progs.go_enter,
                                 object_->progs.go_exit, object_->progs.gnutls_enter, object_->progs.gnutls_exit})
      bpf_program__set_expected_attach_type(program, static_cast<bpf_attach_type>(kUprobeMultiType));
  TRY_STATUS(open_pins(options));
  const uint64_t carry = pins_ ? options.carry_bytes / sizeof(uint64_t) : 0;
  if (carry == 0)
    bpf_map__set_autocreate(object_->maps.carry, false);
  else
    bpf_map__set_max_entries(object_->maps.carry, static_cast<uint32_t>(carry));
  TRY_STATUS(adopt_maps());
  object_->rodata->generation = pins_ ? pins_->generation() : 1;
  if (int error = infertrail_bpf__load(object_); error != 0)
    return Error{Code::kUnsupported,
                 "kernel " + kernel_release() + " refused the BPF programs: " + reason(error) +
                     " (needs 6.1 or later; run `infertrail doctor` and see log_level: debug)"};
  read_adoption();
  TRY_STATUS(keep_maps());
  return map_carry();
}

// Takes the link; pinned where pins are kept.
Status Probes::keep(const char* name, bpf_link* link) {
  links_.push_back(link);
  if (!pins_) return {};
  auto pinned = pins_->keep_link(name, bpf_link__fd(link));
  return pinned.ok() ? Status() : pinned.error();
}

Status Probes::required(const char* name, void* program) {
  bpf_link* link = bpf_program__attach(static_cast<bpf_program*>(program));
  if (!link) return Error{Code::kUnsupported, std::string("attach ") + name + ": " + reason(errno)};
  TRY_STATUS(keep(name, link));
  features_.push_back({name, true, "attached"});
  return {};
}

Status Probes::optional(const char* name, void* program, const std::string& without, bool needed) {
  bpf_link* link = nullptr;
  if (bpf_program__fd(static_cast<bpf_program*>(program)) >= 0)
    link = bpf_program__attach(static_cast<bpf_program*>(program));
  if (link) TRY_STATUS(keep(name, link));
  features_.push_back({name, link != nullptr, link ? "attached" : without, needed});
  if (!link) spdlog::info("probe={} state=missing effect=\"{}\"", name, without);
  return {};
}

Status Probes::attach(const ProbeOptions& options) {
  auto& programs = object_->progs;
  TRY_STATUS(required("sched_process_exec", programs.process_exec));
  TRY_STATUS(required("sched_process_fork", programs.process_fork));
  TRY_STATUS(required("sched_process_exit", programs.process_exit));
  TRY_STATUS(required("inet_sock_set_state", programs.socket_state));
  TRY_STATUS(required("inet_sock_set_state again", programs.socket_state_again));
  TRY_STATUS(optional("signal_generate", programs.signal_sent,
                      "a process that we hold (backpressure: strict, selectors with ,stop) and somebody else stops, too, "
                      "goes on with ours"));
  TRY_STATUS(optional("sys_enter_mmap", programs.mmap_enter, "new libraries are found by a sweep every 5 s"));
  TRY_STATUS(optional("sys_exit_mmap", programs.mmap_exit, "new libraries are found by a sweep every 5 s"));
  const std::string worker = "the listener's process stands for its workers";
  TRY_STATUS(optional("kprobe tcp_sendmsg", programs.tcp_send_enter, "not here; flow owners come from accept", false));
  TRY_STATUS(optional("kprobe tcp_recvmsg", programs.tcp_receive_enter, "not here; flow owners come from accept", false));
  TRY_STATUS(optional("sys_exit_accept4", programs.accept4_exit, worker));
  TRY_STATUS(optional("sys_exit_accept", programs.accept_exit, worker));

  std::string root = options.cgroup_root.empty() ? cgroup2_mount() : options.cgroup_root;
  if (root.empty())
    return Error{Code::kUnsupported,
                 "no cgroup v2 hierarchy is mounted: `mount -t cgroup2 none /sys/fs/cgroup/unified` "
                 "or boot with systemd.unified_cgroup_hierarchy=1"};
  cgroup_ = Fd(::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup_.valid()) return Error{Code::kIo, root + ": " + reason(errno)};
  for (bpf_program* program : {programs.flow_in, programs.flow_out}) {
    bpf_link* link = bpf_program__attach_cgroup(program, cgroup_.get());
    if (!link)
      return Error{Code::kUnsupported, "attach cgroup_skb at " + root + ": " + reason(errno)};
    TRY_STATUS(keep(bpf_program__name(program), link));
  }
  features_.push_back({"cgroup_skb", true, "attached at " + root});
  features_.push_back({"uprobe_multi", uprobe_multi_,
                       uprobe_multi_ ? "one link for the functions of a library"
                                     : "not here (Linux 6.6); each function has its own link, a stop takes longer",
                       false});
  return {};
}

Probes::~Probes() {
  if (!object_) return;
  std::vector<Fd> older;   // held, so that they are detached when we return and not some time later
  Status unpinned;
  if (leaving_) {
    for (bpf_link* link : links_) bpf_link__disconnect(link);
  } else if (pins_ && adoption_.adopted && !armed_) {
    unpinned = pins_->drop_generation(pins_->generation());   // this start failed: the old capture goes on
  } else if (object_->data_shared) {
    disarm();
    if (pins_) {
      for (uint32_t generation : pins_->older())
        for (Fd& link : pins_->links(generation)) older.push_back(std::move(link));
      unpinned = pins_->remove();
    }
  }
  if (!unpinned.ok()) spdlog::error("pins=left error=\"{}\"", unpinned.error().message);
  detach(links_);
  if (carry_) munmap(carry_, carry_size_);
  infertrail_bpf__destroy(object_);
}

void Probes::disarm() {
  for (uint32_t& generation : state()->acting) __atomic_store_n(&generation, 0, __ATOMIC_SEQ_CST);
}
void Probes::take_new(bool on) { state()->take_new = on; }

Status Probes::select(uint32_t tgid, bool stops) {
  abi::target_value value{IT_TARGET_SELECTED, stops ? IT_TARGET_STOPS : 0u};
  if (bpf_map_update_elem(bpf_map__fd(object_->maps.targets), &tgid, &value, BPF_ANY) != 0)
    return Error{Code::kExhausted, "select process " + std::to_string(tgid) + ": " + reason(errno)};
  return {};
}

void Probes::deselect(uint32_t tgid) {
  bpf_map_delete_elem(bpf_map__fd(object_->maps.targets), &tgid);
  if (pins_) bpf_map_delete_elem(bpf_map__fd(object_->maps.target_notes), &tgid);
}

Status Probes::watch_port(uint16_t port) {
  uint8_t one = 1;
  if (bpf_map_update_elem(bpf_map__fd(object_->maps.target_ports), &port, &one, BPF_ANY) != 0)
    return Error{Code::kExhausted, "watch port " + std::to_string(port) + ": " + reason(errno)};
  return {};
}

void Probes::unwatch_port(uint16_t port) {
  bpf_map_delete_elem(bpf_map__fd(object_->maps.target_ports), &port);
}

Status Probes::watch_socket(int fd, uint32_t tgid, uint32_t flags) {
  // The process goes on meanwhile: what a program wrote about its connect() is not overwritten.
  const int map = bpf_map__fd(object_->maps.sock_owners);
  abi::sock_owner owner{tgid, flags};
  if (bpf_map_update_elem(map, &fd, &owner, BPF_NOEXIST) == 0) return {};
  if (errno == EEXIST && bpf_map_lookup_elem(map, &fd, &owner) == 0) {
    if (owner.flags & IT_SOCK_WATCH) return {};   // seen from its beginning
    owner = {tgid, flags | (owner.flags & IT_SOCK_ACTIVE)};
    if (bpf_map_update_elem(map, &fd, &owner, BPF_EXIST) == 0) return {};
  }
  return Error{Code::kIo, "watch a socket of process " + std::to_string(tgid) + ": " + reason(errno)};
}

int Probes::data_fd() const { return bpf_map__fd(object_->maps.data_ring); }
int Probes::control_fd() const { return bpf_map__fd(object_->maps.control_ring); }

void Probes::forget(uint32_t tgid) {
  forget_keys<abi::object_key>(bpf_map__fd(object_->maps.small), tgid);
  forget_keys<abi::object_key>(bpf_map__fd(object_->maps.tls_objects), tgid);
  forget_keys<abi::go_call_key>(bpf_map__fd(object_->maps.go_calls), tgid);
  forget_keys<abi::object_key>(bpf_map__fd(object_->maps.gnutls_kept), tgid);
  forget_keys<abi::packet_key>(bpf_map__fd(object_->maps.gnutls_packets), tgid);
}

int Probes::map_fd(const char* name) const { return bpf_object__find_map_fd_by_name(object_->obj, name); }

}  // namespace infertrail
