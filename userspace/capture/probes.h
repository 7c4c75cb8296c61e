// Owns everything that is attached to the kernel: the BPF object, its links and its maps.
// Destruction detaches all of it; nothing is left on the host, unless leave() was called or the process
// was killed: then what is pinned (pins.h) goes on into the rings, and the next open() adopts it.
//
// Restart and upgrade are one path. open() loads this daemon's own programs on the maps that are
// there and attaches them; they do nothing yet. After every target's libraries were attached, too,
// arm() lets them act beside the old ones, then alone, and drops those.
//
// Thread: open(), arm(), retire(), leave() and the destructor on the main thread, the rest on the
// capture thread, except losses(), missed(), entries() and features(), which any thread may call.
#pragma once

#include <array>
#include <cstdint>
#include <chrono>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/owned.h"
#include "base/procfs.h"
#include "base/result.h"
#include "capture/gnutls_probes.h"
#include "capture/go_probes.h"
#include "capture/library_probes.h"
#include "capture/pins.h"
#include "capture/ring_backlog.h"
#include "infertrail/event.h"

struct infertrail_bpf;
struct bpf_link;

namespace infertrail {

struct ProbeOptions {
  uint64_t data_ring_bytes = 64u << 20;      // power of two, a multiple of the page size
  uint64_t control_ring_bytes = 8u << 20;
  uint64_t carry_bytes = 64u << 20;          // see carry(); a multiple of 8, 0 = none
  std::string cgroup_root;                   // "" = the mounted cgroup v2 root
  GnuTlsBinding gnutls_binding = GnuTlsBinding::kCiphertext;
  std::string pin_root;                      // folder in a BPF file system; "" = capture ends with this process
};

struct LossCount {
  uint64_t events = 0, bytes = 0;
};
using LossCounts = std::array<LossCount, IT_LOSS_KINDS>;

// What an earlier daemon left, as open() found it.
struct Adoption {
  bool adopted = false;        // its maps are used; the rest of this is only then set
  bool handed_over = false;    // it ended by leave(); else it was killed
  uint32_t pid = 0;
  uint64_t alive_ns = 0;       // UNIX time of its last sign of life, at most about a second old then
  RingBacklog data, control;   // what it had not read
  LossCounts lost{};           // and what was lost and is not in the trail yet
};

// What a daemon of another version left in maps that this one cannot read, and that is gone now.
struct Abandoned {
  std::string folder;
  RingBacklog data, control;
};

// A process that an earlier daemon had chosen.
struct RememberedTarget {
  ProcessFacts facts;
  std::string selector;
};

struct RememberedLibrary {
  uint64_t device = 0, inode = 0;
  std::string path;   // as the mount namespace of its first user names it
};

// What this kernel could and could not give; shown by `doctor`.
struct ProbeFeature {
  std::string name;
  bool ok = false;
  std::string detail;   // what is used, or what is lost without it
  bool needed = true;   // false: another probe does the same, nothing is lost without this one
};

class Probes {
 public:
  static Result<std::unique_ptr<Probes>> open(const ProbeOptions& options);
  ~Probes();
  Probes(const Probes&) = delete;
  Probes& operator=(const Probes&) = delete;

  // The programs of this object act from here on, those of an older one no more. Takes about 0.2 s
  // when there are older ones.
  void arm();
  void disarm();
  const Adoption& adoption() const { return adoption_; }
  // Of other versions; removed by arm().
  const std::vector<Abandoned>& abandoned() const { return abandoned_; }
  // Every second: drops the older programs when the calls that were under way in arm() are over, at
  // the latest after a minute; and leaves a sign of life for the next daemon.
  void retire();
  // Everything pinned stays attached for the next daemon, also after destruction. Nothing pinned: no effect.
  void leave();
  bool left() const { return leaving_; }

  // Memory that the next daemon finds as it is when this process is gone: page-aligned, zeroed when
  // fresh. Empty without pins, or when it could not be made. Never on a disk.
  std::span<std::byte> carry() const { return {static_cast<std::byte*>(carry_), carry_size_}; }
  bool carry_adopted() const { return carry_adopted_; }

  // Capture every process that executes until the daemon decides about it.
  void take_new(bool on);

  // `stops`: it, and its children, are stopped until what they execute and map is probed (holds.h).
  Status select(uint32_t tgid, bool stops = false);
  void deselect(uint32_t tgid);
  // Who is selected or pending in the kernel now.
  std::vector<uint32_t> selected() const;
  // For the next daemon, until deselect(): why and who.
  void remember(const ProcessFacts& facts, const std::string& selector);
  std::vector<RememberedTarget> remembered() const;
  // The same for files that are probed, also while no target uses them, and for selectors.
  void remember_library(uint64_t device, uint64_t inode, const std::string& path);
  void forget_library(uint64_t device, uint64_t inode);
  std::vector<RememberedLibrary> remembered_libraries() const;
  void remember_selector(const std::string& text);
  void forget_selector(const std::string& text);
  std::vector<std::string> remembered_selectors() const;

  Status watch_port(uint16_t port);
  void unwatch_port(uint16_t port);
  std::vector<uint16_t> watched_ports() const;
  // Marks a socket that existed before: `fd` is our own copy of it.
  Status watch_socket(int fd, uint32_t tgid, uint32_t flags);

  // Attaches to the TLS functions of the open file, which are `symbols`; `path` must name the same inode (a
  // /proc/PID/map_files entry). Error when the file has none or the kernel refuses.
  Result<LibraryProbes> attach_library(const std::string& path, int fd, const TlsSymbols& symbols);
  // The same for a Go program's crypto/tls.
  Result<LibraryProbes> attach_program(const std::string& path, const GoPlaces& places);

  int data_fd() const;
  int control_fd() const;

  // Small reads that wait in the kernel to be joined; copies of untorn entries.
  std::vector<abi::small_reads> waiting_reads() const { return waiting_reads(0); }
  std::vector<abi::small_reads> waiting_reads(uint32_t tgid) const;   // of one process; 0: of all
  // Drops what the kernel keeps about a process that has ended.
  void forget(uint32_t tgid);

  // Since it was attached; `library` is LibraryProbes::library(). Libraries beyond IT_LIBRARIES share counters.
  LibraryHits hits(uint32_t library) const;
  // Since the maps were made: an earlier daemon's, too.
  LossCounts losses() const;
  // What is in the trail already, from this daemon or an earlier one.
  LossCounts losses_told() const;
  void tell(const LossCounts& losses, uint64_t missed);
  // Events that the kernel did not give to our programs, since load: nothing else tells about them.
  // With those of an earlier daemon's programs that are not in the trail yet.
  uint64_t missed() const;
  // Stream ends of the TLS objects of a process, by object id; what their close would have said.
  std::map<uint64_t, std::array<uint64_t, 2>> stream_ends(uint32_t tgid) const;
  // Of a map of the BPF object, by name; -1 when there is none. Ours to keep.
  int map_fd(const char* name) const;
  // How many keys a hash map of the BPF object holds now; 0 when there is no such map.
  size_t entries(const char* map) const;
  static const char* loss_name(size_t kind);
  const std::vector<ProbeFeature>& features() const { return features_; }

 private:
  Probes() = default;
  Status open_pins(const ProbeOptions& options);
  Status adopt_maps();
  Status keep_maps();
  Status map_carry();
  Status load(const ProbeOptions& options);
  Status keep(const char* name, bpf_link* link);
  abi::shared* state() const;
  void read_adoption();
  void stand_beside(uint32_t older, uint32_t newer);
  void inherit_missed();
  void drop_generation(uint32_t generation);
  void abandon(const std::string& folder);
  Status attach(const ProbeOptions& options);
  Result<uint32_t> count_library();
  Status pin(LibraryProbes* library);
  Status add_gnutls(const std::string& path, int fd, uint32_t number, Result<LibraryProbes>* tls);
  Status optional(const char* name, void* program, const std::string& without, bool needed = true);
  Status required(const char* name, void* program);

  std::unique_ptr<Pins> pins_;   // before everything that is pinned; null: nothing is
  infertrail_bpf* object_ = nullptr;
  std::vector<bpf_link*> links_;
  bool armed_ = false, leaving_ = false;
  Adoption adoption_;
  std::vector<Abandoned> abandoned_;
  uint64_t inherited_missed_ = 0;
  uint32_t acted_before_ = 0;   // the generation that acted when we came
  // Of arm(): calls that were entered under older programs, as they were; and since when.
  std::vector<std::string> calls_then_;
  std::chrono::steady_clock::time_point armed_at_;
  void* carry_ = nullptr;
  size_t carry_size_ = 0;
  bool carry_adopted_ = false;
  std::vector<ProbeFeature> features_;
  Fd cgroup_;
  bool uprobe_multi_ = false;
  GnuTlsBinding gnutls_binding_ = GnuTlsBinding::kCiphertext;
  uint32_t next_library_ = 0;
};

}  // namespace infertrail
