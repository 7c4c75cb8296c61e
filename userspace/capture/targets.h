// Which processes are monitored, now and as they come: keeps the kernel's target map true, attaches
// the probes of every TLS library that a target maps.
//
// Thread: the capture thread, but for add/remove/list/discover, which any thread may call: the
// object locks itself. Owner of: the library probes. Borrows Probes, which must outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/procfs.h"
#include "base/result.h"
#include "capture/holds.h"
#include "capture/probes.h"
#include "capture/selector.h"
#include "capture/target_events.h"
#include "capture/tls_files.h"

namespace infertrail {

struct TargetInfo {
  ProcessFacts facts;
  std::string selector;                  // why it is a target
  std::vector<std::string> libraries;    // files whose TLS functions are probed
  std::vector<std::string> problems;     // files whose TLS is not, or not wholly, captured, and why
  std::vector<std::string> unreadable;   // files with TLS that nothing probes: what it is, by what evidence
  uint64_t stops = 0;                    // times that it was stopped until it was probed (holds.h)
  uint64_t stopped_ns = 0, longest_stop_ns = 0;

  // The selector is why, for itself or inherited; `auto` says more after its own name.
  bool chosen_by(const std::string& text) const;
};

class Targets : public TargetEvents {
 public:
  explicit Targets(Probes& probes, std::string proc = "/proc");

  // After a restart, before anything is read from the rings: who an earlier daemon had chosen is a
  // target again, also who has ended since and whose events wait in the ring. Attaches the libraries of
  // those that live. Then add() for each selector, then restored(): who no selector wants any more is
  // let go. Until then new processes are held as they were before the restart.
  void adopt();
  void restored();

  // `remembered`: it holds after a restart, too, without being in the configuration.
  Status add(const std::string& selector, bool remembered = true);
  Status remove(const std::string& selector);
  std::vector<std::string> selectors() const;
  std::vector<TargetInfo> list() const;
  // Whether the probes of this file are attached.
  bool probes_file(uint64_t device, uint64_t inode) const;
  // Processes that `auto` would choose, whether or not they are targets.
  std::vector<TargetInfo> discover() const;

  void on_exec(uint32_t tgid, const ProcessFacts& facts, uint32_t state) override;
  void on_fork(uint32_t parent, uint32_t child) override;
  void on_exit(uint32_t tgid) override;
  void on_mapped(uint32_t tgid) override;
  void on_listen(uint32_t tgid, uint16_t port) override;
  void on_refused_tls(uint32_t tgid) override;
  // How many of a process's connections carry TLS that is not seen (the coverage ledger knows): probes
  // that never fire while there are some stand at the wrong place. Set before the capture thread runs.
  using Blind = std::function<uint64_t(uint32_t tgid)>;
  void judge_by(Blind blind) { blind_ = std::move(blind); }
  // Is told of each target that was stopped, at the latest when it ends. Set before the capture thread runs.
  using Stopped = std::function<void(const TargetInfo&)>;
  void tell_stops(Stopped tell) { tell_stops_ = std::move(tell); }
  HoldCounts holds() const { return holds_.counts(); }
  // Finds what events cannot tell: processes that changed, libraries of new mappings. Every few seconds.
  // `drained`: the rings were read up to now. Before that, nothing is concluded from a process that is
  // gone or unknown: what it did may still be in them.
  void sweep(bool drained);
  void attach_pending() override;

  bool is_target(uint32_t tgid) const override;
  std::map<uint64_t, std::array<uint64_t, 2>> stream_ends(uint32_t tgid) const override {
    return probes_.stream_ends(tgid);
  }
  std::vector<abi::small_reads> waiting_reads(uint32_t tgid) const override { return probes_.waiting_reads(tgid); }

 private:
  struct Library {
    std::string path;
    std::optional<LibraryProbes> probes;    // empty: nothing to probe in this file
    std::optional<LibraryProbes> program;   // of Go's crypto/tls
    std::shared_ptr<const Result<TlsSymbols>> symbols;
    std::shared_ptr<const Result<GoPlaces>> places;
    std::string problem, program_problem, unreadable;
    uint64_t size = 0, changed_ns = 0;      // of the version that was looked at
    std::vector<abi::file_key> keys;        // as the kernel knows it: nobody waits for it
    bool releasing = false;                 // somebody would have to wait for it again, since the last sweep
    std::set<uint32_t> users;
    bool probed() const { return probes || program; }
    std::string silent;          // its probes are attached and yield nothing
    uint64_t unused_since = 0;   // steady seconds; 0 while in use
  };
  using InodeKey = std::pair<uint64_t, uint64_t>;   // st_dev, st_ino of the opened file

  static uint64_t steady_seconds();
  std::string why(const ProcessFacts& facts, bool with_ports) const;
  void choose(const ProcessFacts& facts, const std::string& selector);
  void drop(uint32_t tgid);
  bool wanted(const TargetInfo& info) const;
  void adopt_library(const RememberedLibrary& library);
  void decide_strays();
  void scan_libraries(uint32_t tgid);
  void probe(Library* library, const std::string& path, int fd, const InodeKey& key);
  void probe_program(Library* library, const std::string& path, const InodeKey& key);
  void look_at(Library* library, const std::string& name, const std::string& path, int fd, const struct stat& file);
  void prepare_executables();
  bool stops(const ProcessFacts& facts, const std::string& reason) const;
  Status update_holds();
  void go_on(uint32_t tgid, const std::optional<Holds::Wait>& wait);
  void tell_stop(const TargetInfo& info);
  void use_mapping(uint32_t tgid, const Mapping& mapping);
  void watch_existing_sockets(uint32_t tgid);
  void sweep_processes(bool with_ports);
  void release_libraries(bool drained);
  void check_libraries();
  void update_take_new();

  Probes& probes_;
  const std::string proc_;
  mutable std::mutex mutex_;
  std::vector<Selector> selectors_;
  std::map<uint32_t, TargetInfo> targets_;
  std::map<InodeKey, Library> libraries_;
  Blind blind_;
  Stopped tell_stops_;
  Holds holds_;
  bool restoring_ = false;
  std::map<uint32_t, uint64_t> stops_told_;
  std::set<uint32_t> gone_;      // had ended at the last sweep, and no event had told it
  std::set<uint32_t> strays_;    // in the kernel's map at the last sweep, and unknown here
  TlsFiles files_;
  std::set<uint32_t> pending_;   // mapped something executable, not looked at yet
};

}  // namespace infertrail
