// The coverage ledger: for every connection of a target, is its content seen? It holds what the wire
// carried (flow_wire_event, from cgroup_skb) against the plaintext that came from its TLS object, while
// the connection is open and when it has ended, and finds:
// - TLS NOT VISIBLE: TLS records, and for 3 s no TLS object that they belong to, or one that gives no
//   plaintext although application data went over the wire. Its end is told as well;
// - TLS PLAINTEXT MISSING: at its end a connection has carried more than its plaintext and what TLS adds.
// Both are bounds, not measures: what TLS adds per record and in a handshake is taken at its largest, so
// that a finding is never an artefact of padding; what is smaller stays unnoticed (kHandshake).
//
// Thread: the capture thread; of() and totals() from any. Times are UNIX nanoseconds.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>

#include "control/coverage_view.h"
#include "daemon/message.h"

namespace infertrail {

class Coverage {
 public:
  struct Finding {
    StreamFacts facts;
    std::string what;        // in words, as above
    bool over = false;       // an earlier finding of this connection has ended
    std::string direction = "both";   // as in Gap
    uint64_t from = 0, to = UINT64_MAX;
    std::string reason;      // tls_not_visible | unhooked_lib | probe_missed | bind_conflict
    std::string note;
  };
  using Tell = std::function<void(const Finding&)>;
  explicit Coverage(Tell tell = {}) : tell_(std::move(tell)) {}

  // `inherited`: an earlier daemon's, from the carry; its object may have ended and been let go already.
  void flow_opened(uint64_t cookie, uint32_t tgid, bool tls, const StreamFacts& facts, uint64_t time_ns,
                   bool inherited = false);
  // A flow that was opened as plain is TLS from now on.
  void flow_turned(uint64_t cookie, uint32_t tgid, const StreamFacts& facts, uint64_t time_ns, bool inherited);
  void flow_owner(uint64_t cookie, uint32_t tgid, const Process& process);
  void flow_bound(uint64_t cookie, uint64_t object, uint32_t tgid, const StreamFacts& facts);
  void flow_wire(const abi::flow_wire_event& event);
  void flow_closed(uint64_t cookie, bool reset, uint64_t time_ns);
  // The stream of an object has reached `end`: by bytes that came, or that are named as lost.
  void plaintext(uint64_t object, uint8_t side, uint64_t end);
  void object_closed(uint64_t object, const uint64_t* ends);
  void process_ended(uint32_t tgid);
  void tick(uint64_t now_ns);
  // As tick(), and what has ended just now is judged as well.
  void finish(uint64_t now_ns);
  // Events that the kernel did not give to our programs, since load.
  void probes_missed(uint64_t total) { missed_ = total; }

  ProcessCoverage of(uint32_t tgid) const;
  CoverageTotals totals() const;

 private:
  struct Object {
    uint64_t end[2] = {0, 0};
    bool bound = false, closed = false;
  };
  struct Flow {
    StreamFacts facts;
    uint32_t tgid = 0;
    uint64_t opened_ns = 0, silent_ns = 0, closed_ns = 0;   // 0: not so
    uint64_t object = 0, missed = 0;
    uint64_t first_end[2] = {0, 0};
    abi::flow_wire_event wire{};
    bool dark = false, read = false, reset = false, inherited = false;
  };
  using Flows = std::unordered_map<uint64_t, Flow>;

  const Object* object_of(const Flow& flow) const;
  bool sends_silence(const Flow& flow) const;
  void judge(Flow& flow, uint64_t now_ns);
  void settle(Flow& flow);
  static Finding about(const Flow& flow, const char* what);
  void raise(Flow& flow, const std::string& note);
  void lower(Flow& flow);
  void tell(Finding finding) const;
  void count(uint32_t tgid, uint64_t ProcessCoverage::*what, int by);

  const Tell tell_;
  Flows flows_;                                     // TLS only
  std::unordered_map<uint64_t, Object> objects_;
  std::atomic<uint64_t> missed_{0};
  mutable std::mutex mutex_;                        // of what follows
  std::map<uint32_t, ProcessCoverage> processes_;
  CoverageTotals totals_;
};

}  // namespace infertrail
