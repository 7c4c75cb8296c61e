// The part of Probes that outlives a daemon: adopting maps, handing over, notes for the next one.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/membarrier.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <thread>

#include "capture/map_layout.h"
#include "capture/probes.h"
#include "capture/skeleton.h"

namespace infertrail {
namespace {

using namespace std::chrono_literals;

constexpr auto kBeside = 100ms;       // how long old and new programs act together
constexpr auto kRetireAfter = 60s;

template <size_t N>
void put(uint8_t (&out)[N], std::string_view text) {
  std::memcpy(out, text.data(), std::min(text.size(), N - 1));   // the rest is zero
}

template <size_t N>
std::string text_of(const uint8_t (&bytes)[N]) {
  const char* text = reinterpret_cast<const char*>(bytes);
  return std::string(text, strnlen(text, N));
}

template <typename Key>
std::vector<Key> keys_of(int map) {
  std::vector<Key> out;
  Key key{}, next{};
  for (const void* from = nullptr; bpf_map_get_next_key(map, from, &next) == 0; from = &key) {
    key = next;
    out.push_back(key);
  }
  return out;
}

uint64_t unix_now_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

// Every program that was under way has ended, and those that begin see what was written before. The
// pause is for uprobes, whose handlers are no classic RCU readers: they take microseconds.
void let_programs_end() {
  syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
  std::this_thread::sleep_for(kBeside);
}

// Each call that a thread is in, as the kernel has it: key and value.
std::vector<std::string> calls_in(int map) {
  std::vector<std::string> out;
  for (const abi::call_key& key : keys_of<abi::call_key>(map)) {
    abi::call call{};
    if (bpf_map_lookup_elem(map, &key, &call) != 0 || call.kind == 0) continue;
    std::string both(reinterpret_cast<const char*>(&key), sizeof(key));
    both.append(reinterpret_cast<const char*>(&call), sizeof(call));
    out.push_back(std::move(both));
  }
  return out;
}

uint64_t misses_of(const std::vector<Fd>& links) {
  std::set<uint32_t> programs;
  for (const Fd& link : links) {
    bpf_link_info info{};
    uint32_t length = sizeof(info);
    if (bpf_obj_get_info_by_fd(link.get(), &info, &length) == 0) programs.insert(info.prog_id);
  }
  uint64_t out = 0;
  for (uint32_t id : programs) {
    Fd program(bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    uint32_t length = sizeof(info);
    if (program.valid() && bpf_obj_get_info_by_fd(program.get(), &info, &length) == 0 &&
        !std::string_view(info.name).starts_with("socket_state"))   // two that stand in for each other
      out += info.recursion_misses;
  }
  return out;
}

}  // namespace

abi::shared* Probes::state() const { return &object_->data_shared->shared; }

Status Probes::open_pins(const ProbeOptions& options) {
  if (options.pin_root.empty()) return {};
  auto pins = Pins::open(options.pin_root, map_layout(object_->obj));
  if (pins.ok()) {
    pins_ = std::move(pins.value());
    features_.push_back({"pins", true, "capture outlives the daemon: " + pins_->folder()});
    return {};
  }
  if (pins.error().code != Code::kUnsupported) return pins.error();
  spdlog::warn("pins=missing error=\"{}\"", pins.error().message);
  features_.push_back({"pins", false, "what is said while no daemon runs is not recorded: " + pins.error().message});
  return {};
}

Status Probes::adopt_maps() {
  if (!pins_) return {};
  adoption_.adopted = pins_->adopted();
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object_->obj) {
    const std::string name = bpf_map__name(map);
    if (!pins_->adopted() || !is_shared_map(name) || !bpf_map__autocreate(map)) continue;
    auto pinned = pins_->map(name);
    if (!pinned.ok() && pinned.error().code == Code::kNotFound && map == object_->maps.carry) continue;
    if (!pinned.ok()) return pinned.error();
    if (int error = bpf_map__reuse_fd(map, pinned.value().get()); error != 0)
      return Error{Code::kIo, "adopt map " + name + ": " + std::strerror(-error)};
    if (map == object_->maps.carry) carry_adopted_ = true;
  }
  return {};
}

Status Probes::keep_maps() {
  if (!pins_) return {};
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object_->obj) {
    const bool made = !pins_->adopted() || (map == object_->maps.carry && !carry_adopted_);
    if (!made || !is_shared_map(bpf_map__name(map)) || map == object_->maps.data_shared || bpf_map__fd(map) < 0)
      continue;
    TRY_STATUS(pins_->keep_map(bpf_map__name(map), bpf_map__fd(map)));
  }
  return pins_->adopted() ? Status() : pins_->complete(bpf_map__fd(object_->maps.data_shared));
}

Status Probes::map_carry() {
  const int fd = bpf_map__fd(object_->maps.carry);
  if (!pins_ || fd < 0) return {};
  const size_t size = size_t{bpf_map__max_entries(object_->maps.carry)} * sizeof(uint64_t);
  void* at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return Error{Code::kIo, std::string("map the carry memory: ") + std::strerror(errno)};
  carry_ = at;
  carry_size_ = size;
  return {};
}

// Before this daemon writes anything of its own.
void Probes::read_adoption() {
  abi::shared* shared = state();
  if (adoption_.adopted) {
    adoption_.handed_over = shared->ending == IT_END_HANDED_OVER;
    adoption_.pid = shared->pid;
    acted_before_ = shared->acting[0];
    adoption_.alive_ns = shared->alive_ns;
    if (auto backlog = ring_backlog(data_fd()); backlog.ok()) adoption_.data = backlog.value();
    if (auto backlog = ring_backlog(control_fd()); backlog.ok()) adoption_.control = backlog.value();
    const LossCounts now = losses(), told = losses_told();
    for (size_t kind = 0; kind < now.size(); kind++)
      adoption_.lost[kind] = {now[kind].events - told[kind].events, now[kind].bytes - told[kind].bytes};
  }
  shared->pid = static_cast<uint32_t>(getpid());
  shared->alive_ns = unix_now_ns();
  shared->ending = IT_END_KILLED;
}

void Probes::inherit_missed() {
  const uint64_t all = misses_of(pins_->links(acted_before_));
  const uint64_t told = state()->missed_told;
  inherited_missed_ = all > told ? all - told : 0;
  state()->missed_told = 0;
}

void Probes::arm() {
  uint32_t* acting = state()->acting;
  const uint32_t generation = object_->rodata->generation;
  auto act = [&](int which) { __atomic_store_n(&acting[which], generation, __ATOMIC_SEQ_CST); };
  armed_ = true;
  if (!adoption_.adopted) {
    act(0);
    act(1);
  } else {
    // Together for a moment: a program that looked before the change and one that looks after it may
    // both stand at the same event, in either order.
    act(1);
    let_programs_end();
    act(0);
    let_programs_end();
    calls_then_ = calls_in(bpf_map__fd(object_->maps.calls));
    armed_at_ = std::chrono::steady_clock::now();
    inherit_missed();
    for (uint32_t each : pins_->older())   // of starts that were killed; retire() takes the other
      if (each != acted_before_) drop_generation(each);
  }
  if (!pins_) return;
  for (const std::string& folder : pins_->strangers()) abandon(folder);
}

void Probes::drop_generation(uint32_t generation) {
  if (auto status = pins_->drop_generation(generation); !status.ok())
    spdlog::warn("generation={} state=left error=\"{}\"", generation, status.error().message);
}

void Probes::abandon(const std::string& folder) {
  Abandoned out{folder, {}, {}};
  const std::string maps = folder + "/maps/";
  if (Fd shared(bpf_obj_get((maps + kSharedMap).c_str())); shared.valid()) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    void* at = mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_SHARED, shared.get(), 0);
    if (at != MAP_FAILED) {
      __atomic_store_n(static_cast<uint64_t*>(at), 0, __ATOMIC_SEQ_CST);   // shared.acting
      munmap(at, page);
      let_programs_end();
    }
  }
  for (auto [name, into] : {std::pair{"data_ring", &out.data}, {"control_ring", &out.control}}) {
    Fd ring(bpf_obj_get((maps + name).c_str()));
    if (!ring.valid()) continue;
    if (auto backlog = ring_backlog(ring.get()); backlog.ok()) *into = backlog.value();
  }
  if (auto status = Pins::remove_folder(folder); !status.ok())
    spdlog::warn("leftover={} error=\"{}\"", folder, status.error().message);
  abandoned_.push_back(std::move(out));
}

void Probes::retire() {
  state()->alive_ns = unix_now_ns();
  if (!pins_ || !armed_ || !adoption_.adopted) return;
  const auto older = pins_->older();
  if (older.empty()) return;
  if (!calls_then_.empty() && std::chrono::steady_clock::now() - armed_at_ < kRetireAfter) {
    const auto now = calls_in(bpf_map__fd(object_->maps.calls));
    std::erase_if(calls_then_, [&](const std::string& call) {
      return std::find(now.begin(), now.end(), call) == now.end();
    });
    if (!calls_then_.empty()) return;
  }
  for (uint32_t each : older) drop_generation(each);
}

void Probes::leave() {
  if (!pins_) return;
  leaving_ = true;
  pins_->leave();
  state()->ending = IT_END_HANDED_OVER;
}

std::vector<uint32_t> Probes::selected() const { return keys_of<uint32_t>(bpf_map__fd(object_->maps.targets)); }

std::vector<uint16_t> Probes::watched_ports() const {
  return keys_of<uint16_t>(bpf_map__fd(object_->maps.target_ports));
}

void Probes::remember(const ProcessFacts& facts, const std::string& selector) {
  if (!pins_) return;
  auto note = std::make_unique<abi::target_note>();
  note->start_boot_ns = facts.start_boot_ns;
  note->ppid = facts.ppid;
  note->uid = facts.uid;
  put(note->selector, selector);
  put(note->comm, facts.comm);
  put(note->exe, facts.exe);
  put(note->cgroup, facts.cgroup);
  std::string args;
  for (const std::string& each : facts.args) args += each + '\0';
  note->args_length = static_cast<uint32_t>(std::min(args.size(), sizeof(note->args)));
  std::memcpy(note->args, args.data(), note->args_length);
  if (bpf_map_update_elem(bpf_map__fd(object_->maps.target_notes), &facts.pid, note.get(), BPF_ANY) != 0)
    spdlog::warn("target={} state=\"not remembered for a restart\" error=\"{}\"", facts.pid, std::strerror(errno));
}

std::vector<RememberedTarget> Probes::remembered() const {
  std::vector<RememberedTarget> out;
  const int map = bpf_map__fd(object_->maps.target_notes);
  auto note = std::make_unique<abi::target_note>();
  for (uint32_t tgid : keys_of<uint32_t>(map)) {
    if (bpf_map_lookup_elem(map, &tgid, note.get()) != 0) continue;
    RememberedTarget each;
    each.selector = text_of(note->selector);
    each.facts.pid = tgid;
    each.facts.ppid = note->ppid;
    each.facts.uid = note->uid;
    each.facts.start_boot_ns = note->start_boot_ns;
    each.facts.comm = text_of(note->comm);
    each.facts.exe = text_of(note->exe);
    each.facts.cgroup = text_of(note->cgroup);
    const char* args = reinterpret_cast<const char*>(note->args);
    const size_t length = std::min<size_t>(note->args_length, sizeof(note->args));
    for (size_t at = 0; at < length; at += each.facts.args.back().size() + 1)
      each.facts.args.emplace_back(args + at, strnlen(args + at, length - at));
    out.push_back(std::move(each));
  }
  return out;
}

void Probes::remember_library(uint64_t device, uint64_t inode, const std::string& path) {
  if (!pins_) return;
  const abi::library_key key{device, inode};
  abi::library_note note{};
  put(note.path, path);
  if (bpf_map_update_elem(bpf_map__fd(object_->maps.library_notes), &key, &note, BPF_ANY) != 0)
    spdlog::warn("library={} state=\"not remembered for a restart\" error=\"{}\"", path, std::strerror(errno));
}

void Probes::forget_library(uint64_t device, uint64_t inode) {
  const abi::library_key key{device, inode};
  bpf_map_delete_elem(bpf_map__fd(object_->maps.library_notes), &key);
}

std::vector<RememberedLibrary> Probes::remembered_libraries() const {
  std::vector<RememberedLibrary> out;
  const int map = bpf_map__fd(object_->maps.library_notes);
  for (const abi::library_key& key : keys_of<abi::library_key>(map)) {
    abi::library_note note{};
    if (bpf_map_lookup_elem(map, &key, &note) == 0) out.push_back({key.device, key.inode, text_of(note.path)});
  }
  return out;
}

void Probes::remember_selector(const std::string& text) {
  if (!pins_) return;
  abi::selector_key key{};
  put(key.text, text);
  const uint8_t one = 1;
  if (text.size() >= sizeof(key.text) ||
      bpf_map_update_elem(bpf_map__fd(object_->maps.selector_notes), &key, &one, BPF_ANY) != 0)
    spdlog::warn("selector=\"{}\" state=\"not remembered for a restart\"", text);
}

void Probes::forget_selector(const std::string& text) {
  abi::selector_key key{};
  put(key.text, text);
  bpf_map_delete_elem(bpf_map__fd(object_->maps.selector_notes), &key);
}

std::vector<std::string> Probes::remembered_selectors() const {
  std::vector<std::string> out;
  for (const abi::selector_key& key : keys_of<abi::selector_key>(bpf_map__fd(object_->maps.selector_notes)))
    out.push_back(text_of(key.text));
  return out;
}

LossCounts Probes::losses_told() const {
  LossCounts out{};
  for (uint32_t kind = 0; kind < IT_LOSS_KINDS; kind++) {
    abi::loss_counter value{};
    if (bpf_map_lookup_elem(bpf_map__fd(object_->maps.losses_told), &kind, &value) == 0)
      out[kind] = {value.events, value.bytes};
  }
  return out;
}

void Probes::tell(const LossCounts& losses, uint64_t missed) {
  for (uint32_t kind = 0; kind < IT_LOSS_KINDS; kind++) {
    const abi::loss_counter value{losses[kind].events, losses[kind].bytes};
    if (bpf_map_update_elem(bpf_map__fd(object_->maps.losses_told), &kind, &value, BPF_ANY) != 0)
      spdlog::warn("losses=untold error=\"{}\"", std::strerror(errno));
  }
  state()->missed_told = missed > inherited_missed_ ? missed - inherited_missed_ : 0;
}

}  // namespace infertrail
