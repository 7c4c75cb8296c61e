// Probes: what the kernel programs count, and what still waits in their maps.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstring>

#include "capture/probes.h"
#include "capture/skeleton.h"

namespace infertrail {

std::vector<abi::small_reads> Probes::waiting_reads(uint32_t tgid) const {
  std::vector<abi::small_reads> out;
  const int fd = bpf_map__fd(object_->maps.small);
  abi::object_key key{}, next{};
  const void* from = nullptr;
  auto value = std::make_unique<abi::small_reads>();
  while (bpf_map_get_next_key(fd, from, &next) == 0) {
    key = next;
    from = &key;
    if ((tgid != 0 && key.tgid != tgid) || bpf_map_lookup_elem(fd, &key, value.get()) != 0) continue;
    if (value->length > 0 && value->length <= IT_SMALL_BUFFER && value->start == value->start_again)
      out.push_back(*value);
  }
  return out;
}

LossCounts Probes::losses() const {
  LossCounts out{};
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

LibraryHits Probes::hits(uint32_t library) const {
  LibraryHits out;
  const int cpus = libbpf_num_possible_cpus();
  if (cpus <= 0) return out;
  std::vector<abi::library_hits> values(static_cast<size_t>(cpus));
  if (bpf_map_lookup_elem(bpf_map__fd(object_->maps.library_hits), &library, values.data()) != 0) return out;
  for (const abi::library_hits& value : values)
    for (size_t call = 0; call < IT_CALLS; call++) {
      out.enters[call] += value.enters[call];
      out.exits[call] += value.exits[call];
    }
  return out;
}

uint64_t Probes::missed() const {
  uint64_t out = inherited_missed_;
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
                                                 "nested_call", "ktls", "entered_before"};
  return kind < IT_LOSS_KINDS ? kNames[kind] : "unknown";
}

}  // namespace infertrail
