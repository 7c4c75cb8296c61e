// Turns kernel events into what the workers need: whose stream, and its bytes. Keeps the flows that
// are open, joins TLS objects to them by the kernel's BIND, and tells the coverage ledger of both.
//
// Thread: the capture thread. Borrows everything; the workers' queues block when full, and the
// pressure ends in the kernel ring, where loss is counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "capture/events.h"
#include "capture/target_events.h"
#include "daemon/carry.h"
#include "daemon/canary_watch.h"
#include "daemon/coverage.h"
#include "daemon/message.h"
#include "identity/resolver.h"

namespace infertrail {

class Intake : public CaptureHandler {
 public:
  using Push = std::function<void(size_t worker, std::vector<StreamMessage>)>;
  // `carry` (null: none) gets each record that a stream lives by, before the ring forgets it.
  Intake(TargetEvents& targets, Resolver& resolver, Coverage& coverage, size_t workers, Push push,
         CanaryWatch* canary = nullptr, Carry* carry = nullptr)
      : targets_(targets), resolver_(resolver), coverage_(coverage), canary_(canary), workers_(workers),
        push_(std::move(push)), carry_(carry ? *carry : no_carry_) {}

  // Where the records of the carry go, so that what comes from a killed daemon takes the same way as
  // what comes from the rings.
  struct Replayer {
    std::function<void(std::string_view record)> control, data;
  };
  // Once, before the rings are read: what another daemon did not finish goes on.
  void replay(const Replayer& into);

  // After each round of Events: sends what was collected, looks at new mappings.
  void flush();
  // Every 100 ms, and only when the rings were drained: reads that wait in the kernel to be joined;
  // coverage; old orphans; and the time `until_ns` (UNIX) up to which nothing is missing any more but
  // what is lost. Time-outs of streams count from there, so that a daemon that lags names no holes
  // that are still in the ring.
  void tick(const std::vector<abi::small_reads>& waiting, uint64_t until_ns);

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
  void on_tls_shutdown(const abi::tls_close_event& event) override;
  void on_bind(const abi::bind_event& event) override;
  void on_loss(const abi::loss_event& event) override;
  void on_data(const abi::data_event& event, std::string_view payload) override;
  void on_orphan(const abi::orphan_event& event, std::string_view payload) override;
  void on_held(const abi::event_header& header, std::string_view record) override;

  // Payload whose connection never appeared; any thread.
  LossCount orphans_lost() const { return {orphans_lost_, orphan_bytes_lost_}; }

 private:
  static StreamMessage message(StreamMessage::Kind kind, StreamId stream, uint64_t monotonic_ns);
  struct OpenFlow {
    StreamFacts facts;
    uint32_t tgid = 0;
    bool tls = false;
    bool begun_plain = false;       // it has a session of its own, of the bytes before `tls_from`
    uint64_t tls_from[2] = {0, 0};
  };
  struct Orphan {
    abi::address_pair addresses;
    uint32_t sequence;
    uint64_t time_ns;
    std::string bytes;
    uint64_t carried;   // handle
  };
  struct Identity {
    Process process, peer;
  };

  void send(StreamMessage message);
  void lose_orphan();
  void refuse(StreamId stream, uint64_t time_ns);
  void set_owner(OpenFlow* flow, uint64_t cookie, uint32_t tgid, uint64_t time_ns);
  void adopt_orphans(const abi::flow_open_event& event);
  Process peer_of(const abi::flow_open_event& event);
  void end_object(uint64_t object, const uint64_t* ends, uint64_t time_ns);
  Identity identify(StreamId stream, uint32_t tgid, const abi::flow_open_event* flow);
  void take_waiting(const abi::process_event& event);
  void take_identity(StreamId stream, Identity identity);
  template <typename Event>
  void carry_control(StreamId stream, const Event& event) {
    if (!replaying_) carry_.control(stream, {reinterpret_cast<const char*>(&event), sizeof(event)});
  }

  TargetEvents& targets_;
  Resolver& resolver_;
  bool is_canary(uint32_t tgid) const { return canary_ && canary_->is(tgid); }
  Coverage& coverage_;
  CanaryWatch* const canary_;   // nullptr: none
  const size_t workers_;
  const Push push_;
  std::map<size_t, std::vector<StreamMessage>> batches_;
  std::unordered_map<uint64_t, OpenFlow> flows_;             // by cookie
  std::unordered_map<uint64_t, uint32_t> objects_;           // open TLS object -> tgid
  // Streams of processes that were held until decided and then not chosen: nothing of them is kept.
  std::set<std::pair<bool, uint64_t>> refused_;
  // accept() comes before the first byte, and so before the flow's opening.
  std::map<uint64_t, uint32_t> early_owners_;   // by cookie, bounded
  std::deque<Orphan> orphans_;
  Carry no_carry_;
  Carry& carry_;
  bool replaying_ = false;
  uint64_t replayed_handle_ = 0;                             // of the record that is replayed
  std::map<std::pair<bool, uint64_t>, Identity> identities_;  // of the streams that are replayed
  std::deque<std::pair<uint32_t, uint64_t>> held_exits_;     // tgid and handle, in order
  std::vector<uint64_t> ended_before_;   // objects of the replay that end when all that ends was handed out
  std::atomic<uint64_t> orphans_lost_{0}, orphan_bytes_lost_{0};
};

}  // namespace infertrail
