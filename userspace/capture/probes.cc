#include "capture/probes.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/procfs.h"
#include "capture/attach_point.h"
#include "capture/kernel_needs.h"
#include "capture/tls_library.h"
#include "infertrail.skel.h"

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

// Which program goes to which function: one row a probe.
struct TlsProbe {
  const char* symbol;
  size_t enter, exit;   // offsets of the program pointers in the skeleton; 0 = none
  bool hot = false;     // called for every message: looked at for a cheaper place (attach_point.h)
};
#define PROGRAM(name) offsetof(infertrail_bpf, progs) + offsetof(decltype(infertrail_bpf::progs), name)
const TlsProbe kTlsProbes[] = {
    {"SSL_read", PROGRAM(tls_read_enter), PROGRAM(tls_exit), true},
    {"SSL_read_ex", PROGRAM(tls_read_ex_enter), PROGRAM(tls_exit)},
    {"SSL_write", PROGRAM(tls_write_enter), PROGRAM(tls_exit), true},
    {"SSL_write_ex", PROGRAM(tls_write_ex_enter), PROGRAM(tls_exit)},
    {"SSL_write_ex2", PROGRAM(tls_write_ex2_enter), PROGRAM(tls_exit)},
    {"SSL_do_handshake", PROGRAM(tls_handshake_enter), PROGRAM(tls_exit)},
    {"SSL_free", PROGRAM(tls_free_enter), 0},
    {"SSL_clear", PROGRAM(tls_free_enter), 0},
    {"SSL_shutdown", PROGRAM(tls_shutdown_enter), 0},
    {"BIO_write", PROGRAM(bio_write_enter), 0, true},
    {"BIO_write_ex", PROGRAM(bio_write_enter), 0},
};
#undef PROGRAM

bpf_program* program_at(infertrail_bpf* object, size_t offset) {
  return *reinterpret_cast<bpf_program**>(reinterpret_cast<char*>(object) + offset);
}

// Offset in the file of each end of the call; `moved` when they are not the symbol.
struct Place {
  uint64_t enter, exit;
  // What to add to the stack pointer there to get its value behind the return: that value tells
  // which call it is that returns.
  uint64_t enter_stack, exit_stack;
  bool moved;
};

#ifdef __x86_64__
constexpr uint64_t kReturnAddress = 8;   // on the stack at entry, gone at return
#else
constexpr uint64_t kReturnAddress = 0;
#endif

Place place_of(const TlsProbe& probe, int fd, uint64_t symbol) {
  char code[kCallPointBytes];
  const ssize_t n = probe.hot ? pread(fd, code, sizeof(code), static_cast<off_t>(symbol)) : 0;
  const Place plain{symbol, symbol, kReturnAddress, 0, false};
  if (n <= 0) return plain;
  const std::string_view seen(code, static_cast<size_t>(n));
  auto points = probe.exit ? cheap_call_points(seen) : cheap_entry_point(seen);
  if (!points) return plain;
  const uint64_t stack = points->frame + kReturnAddress;
  return {symbol + points->enter, symbol + points->exit, stack, stack, true};
}

// Each uprobe waits for the kernel (70 ms on a small VM); the kernel takes them one by one.
void detach(std::vector<bpf_link*>& links) {
  for (bpf_link* link : links) bpf_link__destroy(link);
  links.clear();
}

bool kernel_has_kprobes() {
  // The PMU exists only where CONFIG_KPROBE_EVENTS does; lockdown refuses later, at attach.
  return access("/sys/bus/event_source/devices/kprobe/type", R_OK) == 0;
}

}  // namespace

LibraryProbes::~LibraryProbes() { detach(links_); }
LibraryProbes::LibraryProbes(LibraryProbes&& other) noexcept { links_.swap(other.links_); }
LibraryProbes& LibraryProbes::operator=(LibraryProbes&& other) noexcept {
  links_.swap(other.links_);
  return *this;
}

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
  bpf_program__set_autoload(object_->progs.signal_sent, options.strict);
  if (const std::string lacks = missing_kernel_features(); !lacks.empty())
    return Error{Code::kUnsupported, "kernel " + kernel_release() + " lacks " + lacks +
                                         ": capture needs kernel 6.1 or later"};
  if (int error = infertrail_bpf__load(object_); error != 0)
    return Error{Code::kUnsupported,
                 "kernel " + kernel_release() + " refused the BPF programs: " + reason(error) +
                     " (needs 6.1 or later; run `infertrail doctor` and see log_level: debug)"};
  return {};
}

Status Probes::required(const char* name, void* program) {
  bpf_link* link = bpf_program__attach(static_cast<bpf_program*>(program));
  if (!link) return Error{Code::kUnsupported, std::string("attach ") + name + ": " + reason(errno)};
  links_.push_back(link);
  features_.push_back({name, true, "attached"});
  return {};
}

void Probes::optional(const char* name, void* program, const std::string& without, bool needed) {
  bpf_link* link = nullptr;
  if (bpf_program__fd(static_cast<bpf_program*>(program)) >= 0)
    link = bpf_program__attach(static_cast<bpf_program*>(program));
  if (link) links_.push_back(link);
  features_.push_back({name, link != nullptr, link ? "attached" : without, needed});
  if (!link) spdlog::info("probe={} state=missing effect=\"{}\"", name, without);
}

Status Probes::attach(const ProbeOptions& options) {
  auto& programs = object_->progs;
  TRY_STATUS(required("sched_process_exec", programs.process_exec));
  TRY_STATUS(required("sched_process_fork", programs.process_fork));
  TRY_STATUS(required("sched_process_exit", programs.process_exit));
  TRY_STATUS(required("inet_sock_set_state", programs.socket_state));
  TRY_STATUS(required("inet_sock_set_state again", programs.socket_state_again));
  if (options.strict)
    optional("signal_generate", programs.signal_sent,
             "a process that back-pressure holds and somebody else stops, too, goes on with ours");
  optional("sys_enter_mmap", programs.mmap_enter, "new libraries are found by a sweep every 5 s");
  optional("sys_exit_mmap", programs.mmap_exit, "new libraries are found by a sweep every 5 s");
  const std::string worker = "the listener's process stands for its workers";
  optional("kprobe tcp_sendmsg", programs.tcp_send_enter, "not here; flow owners come from accept", false);
  optional("kprobe tcp_recvmsg", programs.tcp_receive_enter, "not here; flow owners come from accept", false);
  optional("sys_exit_accept4", programs.accept4_exit, worker);
  optional("sys_exit_accept", programs.accept_exit, worker);

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
    links_.push_back(link);
  }
  features_.push_back({"cgroup_skb", true, "attached at " + root});
  return {};
}

Probes::~Probes() {
  if (object_ && object_->bss) object_->bss->armed = 0;
  detach(links_);
  if (object_) infertrail_bpf__destroy(object_);
}

void Probes::arm() { object_->bss->armed = 1; }
void Probes::disarm() { object_->bss->armed = 0; }
void Probes::take_new(bool on) { object_->bss->take_new = on; }

Status Probes::select(uint32_t tgid) {
  abi::target_value value{IT_TARGET_SELECTED, 0};
  if (bpf_map_update_elem(bpf_map__fd(object_->maps.targets), &tgid, &value, BPF_ANY) != 0)
    return Error{Code::kExhausted, "select process " + std::to_string(tgid) + ": " + reason(errno)};
  return {};
}

void Probes::deselect(uint32_t tgid) {
  bpf_map_delete_elem(bpf_map__fd(object_->maps.targets), &tgid);
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
  abi::sock_owner owner{};
  if (bpf_map_lookup_elem(bpf_map__fd(object_->maps.sock_owners), &fd, &owner) == 0) {
    if (owner.flags & IT_SOCK_WATCH) return {};   // seen from its beginning
    flags |= owner.flags & IT_SOCK_ACTIVE;
  }
  owner = {tgid, flags};
  if (bpf_map_update_elem(bpf_map__fd(object_->maps.sock_owners), &fd, &owner, BPF_ANY) != 0)
    return Error{Code::kIo, "watch a socket of process " + std::to_string(tgid) + ": " + reason(errno)};
  return {};
}

Result<LibraryProbes> Probes::attach_library(const std::string& path, int fd) {
  TRY(TlsSymbols symbols, read_tls_symbols(fd));
  if (!symbols.is_tls() && !symbols.is_bio()) return Error{Code::kNotFound, path + ": no TLS functions"};
  LibraryProbes out;
  for (const TlsProbe& probe : kTlsProbes) {
    auto found = symbols.offsets.find(probe.symbol);
    if (found == symbols.offsets.end()) continue;
    const Place place = place_of(probe, fd, found->second);
    // The return probe first: a call that is entered is then always left.
    for (size_t which : {probe.exit, probe.enter}) {
      if (which == 0) continue;
      const bool exit = which == probe.exit;
      LIBBPF_OPTS(bpf_uprobe_opts, options, .bpf_cookie = exit ? place.exit_stack : place.enter_stack,
                  .retprobe = exit && !place.moved);
      bpf_link* link = bpf_program__attach_uprobe_opts(program_at(object_, which), -1, path.c_str(),
                                                       exit ? place.exit : place.enter, &options);
      if (!link)
        return Error{Code::kUnsupported,
                     "attach " + std::string(probe.symbol) + " of " + path + ": " + reason(errno)};
      out.links_.push_back(link);
    }
  }
  return out;
}

int Probes::data_fd() const { return bpf_map__fd(object_->maps.data_ring); }
int Probes::control_fd() const { return bpf_map__fd(object_->maps.control_ring); }

std::vector<abi::small_reads> Probes::waiting_reads() const {
  std::vector<abi::small_reads> out;
  const int fd = bpf_map__fd(object_->maps.small);
  abi::object_key key{}, next{};
  const void* from = nullptr;
  auto value = std::make_unique<abi::small_reads>();
  while (bpf_map_get_next_key(fd, from, &next) == 0) {
    key = next;
    from = &key;
    if (bpf_map_lookup_elem(fd, &key, value.get()) != 0) continue;
    if (value->length > 0 && value->length <= IT_SMALL_BUFFER && value->start == value->start_again)
      out.push_back(*value);
  }
  return out;
}

void Probes::forget(uint32_t tgid) {
  for (bpf_map* map : {object_->maps.small, object_->maps.tls_objects}) {
    const int fd = bpf_map__fd(map);
    std::vector<abi::object_key> dead;
    abi::object_key key{}, next{};
    const void* from = nullptr;
    while (bpf_map_get_next_key(fd, from, &next) == 0) {
      key = next;
      from = &key;
      if (key.tgid == tgid) dead.push_back(key);
    }
    for (const abi::object_key& each : dead) bpf_map_delete_elem(fd, &each);
  }
}

std::array<LossCount, IT_LOSS_KINDS> Probes::losses() const {
  std::array<LossCount, IT_LOSS_KINDS> out{};
  const int cpus = libbpf_num_possible_cpus();
  if (cpus <= 0) return out;
  std::vector<abi::loss_counter> values(static_cast<size_t>(cpus));
  for (uint32_t kind = 0; kind < IT_LOSS_KINDS; kind++) {
    if (bpf_map_lookup_elem(bpf_map__fd(object_->maps.losses), &kind, values.data()) != 0) continue;
    for (const abi::loss_counter& value : values) {
      out[kind].events += value.events;
      out[kind].bytes += value.bytes;
    }
  }
  return out;
}

uint64_t Probes::missed() const {
  uint64_t out = 0;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object_->obj) {
    bpf_prog_info info{};
    uint32_t length = sizeof(info);
    const int fd = bpf_program__fd(program);
    if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &length) != 0 || info.recursion_misses == 0) continue;
    // These two stand in for each other: what one was not given, the other was (socket.bpf.c).
    if (program == object_->progs.socket_state || program == object_->progs.socket_state_again) continue;
    spdlog::debug("program={} missed={}", bpf_program__name(program), info.recursion_misses);
    out += info.recursion_misses;
  }
  return out;
}

std::map<uint64_t, std::array<uint64_t, 2>> Probes::stream_ends(uint32_t tgid) const {
  std::map<uint64_t, std::array<uint64_t, 2>> out;
  const int fd = bpf_map__fd(object_->maps.tls_objects);
  abi::object_key key{}, next{};
  for (const void* from = nullptr; bpf_map_get_next_key(fd, from, &next) == 0; from = &key) {
    key = next;
    abi::tls_object object{};
    if (key.tgid == tgid && bpf_map_lookup_elem(fd, &key, &object) == 0)
      out[object.id] = {object.offset[IT_IN], object.offset[IT_OUT]};
  }
  return out;
}

int Probes::map_fd(const char* name) const { return bpf_object__find_map_fd_by_name(object_->obj, name); }

size_t Probes::entries(const char* map) const {
  const int fd = map_fd(map);
  if (fd < 0) return 0;
  // Large enough for the key of any of our hash maps.
  struct alignas(8) Key {
    char bytes[64];
  } key{}, next{};
  size_t count = 0;
  for (const void* from = nullptr; bpf_map_get_next_key(fd, from, &next) == 0; from = &key) {
    key = next;
    count++;
  }
  return count;
}

const char* Probes::loss_name(size_t kind) {
  constexpr const char* kNames[IT_LOSS_KINDS] = {"ring_full", "fault", "control_full", "map_full",
                                                 "nested_call"};
  return kind < IT_LOSS_KINDS ? kNames[kind] : "unknown";
}

}  // namespace infertrail
