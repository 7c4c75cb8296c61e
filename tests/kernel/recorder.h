// Keeps everything that the kernel said, by stream, and hands process events to Targets as the
// daemon's Intake does. Thread-safe: the stand's thread writes, tests read.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "capture/events.h"
#include "capture/targets.h"

namespace infertrail::testing_kernel {

// One direction of a stream: bytes by offset, and which of them were seen.
struct Half {
  std::string bytes;
  std::map<uint64_t, uint64_t> seen;   // [from, to), disjoint
  std::map<uint64_t, uint64_t> lost;   // from IT_LOSS
  uint64_t records = 0;
  bool contradiction = false;          // two records disagree about a byte

  void add(uint64_t offset, std::string_view payload);
  uint64_t seen_bytes() const;
  uint64_t lost_bytes() const;         // named by IT_LOSS and never seen
  std::string sha() const;             // of the bytes, hex; "hole" when one is missing
};

struct Stream {
  Half half[2];
  uint32_t data_tgid = 0;
  bool closed = false;
  uint64_t end[2] = {0, 0};            // from the close event
};

struct Object : Stream {
  uint32_t tgid = 0;
  uint64_t ssl = 0, cookie = 0;        // cookie 0: not bound
  uint64_t binds = 0;
  uint8_t role = 0, method = 0;
};

struct Flow : Stream {
  abi::flow_open_event open{};
  abi::flow_wire_event wire{};         // the newest
  uint64_t wires = 0;
  uint64_t opens = 0;
  bool turned = false;                 // TLS began later
  uint64_t tls_from[2] = {0, 0};
  std::vector<uint32_t> owners;        // from flow_owner, in order
};

class Recorder : public CaptureHandler {
 public:
  explicit Recorder(Targets& targets) : targets_(targets) {}

  std::map<uint64_t, Object> objects() const { return copy(objects_); }
  std::map<uint64_t, Flow> flows() const { return copy(flows_); }
  // Of one process; copies without other processes' bytes.
  std::vector<Object> objects_of(uint32_t tgid) const;
  std::vector<Flow> flows_of(uint32_t tgid) const;
  std::vector<uint32_t> exited() const { return copy(exited_); }
  std::vector<std::string> orphans() const { return copy(orphans_); }
  uint64_t data_records() const { return data_records_; }
  void forget();

  void on_exec(const abi::exec_event& event) override;
  void on_fork(const abi::fork_event& event) override;
  void on_exit(const abi::process_event& event) override;
  void on_mapped(const abi::process_event& event) override;
  void on_listen(const abi::listen_event& event) override;
  void on_flow_open(const abi::flow_open_event& event) override;
  void on_flow_close(const abi::flow_close_event& event) override;
  void on_flow_wire(const abi::flow_wire_event& event) override;
  void on_flow_owner(const abi::flow_owner_event& event) override;
  void on_flow_tls(const abi::flow_tls_event& event) override;
  void on_tls_open(const abi::tls_open_event& event) override;
  void on_tls_close(const abi::tls_close_event& event) override;
  void on_tls_shutdown(const abi::tls_close_event&) override {}
  void on_bind(const abi::bind_event& event) override;
  void on_loss(const abi::loss_event& event) override;
  void on_data(const abi::data_event& event, std::string_view payload) override;
  void on_orphan(const abi::orphan_event& event, std::string_view payload) override;

 private:
  template <typename T>
  T copy(const T& value) const {
    std::lock_guard lock(mutex_);
    return value;
  }
  Stream& stream(bool tls, uint64_t id) { return tls ? static_cast<Stream&>(objects_[id]) : flows_[id]; }

  Targets& targets_;
  mutable std::mutex mutex_;
  std::map<uint64_t, Object> objects_;
  std::map<uint64_t, Flow> flows_;
  std::vector<uint32_t> exited_;
  std::vector<std::string> orphans_;
  struct Orphan {
    abi::address_pair addresses;
    uint32_t sequence;
    std::string bytes;
  };
  std::vector<Orphan> waiting_;
  std::atomic<uint64_t> data_records_{0};
};

}  // namespace infertrail::testing_kernel
