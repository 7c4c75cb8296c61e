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

#include "capture/map_keys.h"
#include "capture/map_layout.h"
#include "capture/probes.h"
#include "capture/skeleton.h"

namespace infertrail {
namespace {

using namespace std::chrono_literals;

constexpr auto kBeside = 100ms;       // how long each step of the hand-over lasts
constexpr auto kRetireAfter = 60s;

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

void Probes::stand_beside(uint32_t older, uint32_t newer) {
  struct Key {
    uint64_t id, place;
  };
  const int claims = bpf_map__fd(object_->maps.claims);
  for (const Key& key : keys_of<Key>(claims)) bpf_map_delete_elem(claims, &key);
  const uint32_t generations[2] = {older, newer};
  uint64_t both;   // stored at once
  std::memcpy(&both, generations, sizeof(both));
  __atomic_store_n(reinterpret_cast<uint64_t*>(state()->beside), both, __ATOMIC_SEQ_CST);
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
    if (acting[1] != acting[0]) {   // the one before us was killed here
      __atomic_store_n(&acting[1], acting[0], __ATOMIC_SEQ_CST);
      let_programs_end();
    }
    stand_beside(acted_before_, generation);
    let_programs_end();
    act(1);
    let_programs_end();
    act(0);
    let_programs_end();
    stand_beside(0, 0);
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
