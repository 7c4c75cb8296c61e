// The part of Probes that the daemon writes for the next one: targets, libraries, selectors.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "capture/map_keys.h"
#include "capture/probes.h"
#include "capture/skeleton.h"

namespace infertrail {
namespace {

template <size_t N>
void put(uint8_t (&out)[N], std::string_view text) {
  std::memcpy(out, text.data(), std::min(text.size(), N - 1));   // the rest is zero
}

template <size_t N>
std::string text_of(const uint8_t (&bytes)[N]) {
  const char* text = reinterpret_cast<const char*>(bytes);
  return std::string(text, strnlen(text, N));
}

}  // namespace

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

}  // namespace infertrail
