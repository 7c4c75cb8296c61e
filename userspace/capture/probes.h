// Owns everything that is attached to the kernel: the BPF object, its links and its maps.
// Destruction detaches all of it; nothing is left on the host.
//
// Thread: open() and the destructor on the main thread, the rest on the capture thread, except
// counters(), which any thread may call.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/owned.h"
#include "base/result.h"
#include "capture/library_probes.h"
#include "infertrail/event.h"

struct infertrail_bpf;
struct bpf_link;

namespace infertrail {

struct ProbeOptions {
  uint64_t data_ring_bytes = 64u << 20;      // power of two, a multiple of the page size
  uint64_t control_ring_bytes = 8u << 20;
  std::string cgroup_root;                   // "" = the mounted cgroup v2 root
};

// What this kernel could and could not give; shown by `doctor`.
struct ProbeFeature {
  std::string name;
  bool ok = false;
  std::string detail;   // what is used, or what is lost without it
  bool needed = true;   // false: another probe does the same, nothing is lost without this one
};

struct LossCount {
  uint64_t events = 0, bytes = 0;
};

class Probes {
 public:
  static Result<std::unique_ptr<Probes>> open(const ProbeOptions& options);
  ~Probes();
  Probes(const Probes&) = delete;
  Probes& operator=(const Probes&) = delete;

  // Programs act from here on.
  void arm();
  void disarm();
  // Capture every process that executes until the daemon decides about it.
  void take_new(bool on);

  Status select(uint32_t tgid);
  void deselect(uint32_t tgid);
  Status watch_port(uint16_t port);
  void unwatch_port(uint16_t port);
  // Marks a socket that existed before: `fd` is our own copy of it.
  Status watch_socket(int fd, uint32_t tgid, uint32_t flags);

  // Attaches to the TLS functions of the open file; `path` must name the same inode (a
  // /proc/PID/map_files entry). Error when the file has none or the kernel refuses.
  Result<LibraryProbes> attach_library(const std::string& path, int fd);

  int data_fd() const;
  int control_fd() const;

  // Small reads that wait in the kernel to be joined; copies of untorn entries.
  std::vector<abi::small_reads> waiting_reads() const;
  // Drops what the kernel keeps about a process that has ended.
  void forget(uint32_t tgid);

  std::array<LossCount, IT_LOSS_KINDS> losses() const;
  // Since it was attached; `library` is LibraryProbes::library(). Libraries beyond IT_LIBRARIES share counters.
  LibraryHits hits(uint32_t library) const;
  // Events that the kernel did not give to our programs, since load: nothing else tells about them.
  uint64_t missed() const;
  // How many keys a hash map of the BPF object holds now; 0 when there is no such map.
  size_t entries(const char* map) const;
  static const char* loss_name(size_t kind);
  const std::vector<ProbeFeature>& features() const { return features_; }

 private:
  Probes() = default;
  Status load(const ProbeOptions& options);
  Status attach(const ProbeOptions& options);
  void optional(const char* name, void* program, const std::string& without, bool needed = true);
  Status required(const char* name, void* program);

  infertrail_bpf* object_ = nullptr;
  std::vector<bpf_link*> links_;
  std::vector<ProbeFeature> features_;
  Fd cgroup_;
  bool uprobe_multi_ = false;
  uint32_t next_library_ = 0;
};

}  // namespace infertrail
