// The running daemon: owns every part in start order; destruction is shutdown in reverse.
// Thread: main; start() and run() once each.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "capture/events.h"
#include "capture/probes.h"
#include "capture/strict.h"
#include "capture/targets.h"
#include "control/server.h"
#include "daemon/carry.h"
#include "daemon/canary.h"
#include "daemon/coverage.h"
#include "daemon/intake.h"
#include "daemon/pipeline.h"
#include "daemon/worker.h"
#include "daemon/written.h"
#include "identity/credential.h"
#include "identity/resolver.h"
#include "infertrail/policy.pb.h"
#include "trail/writer.h"

namespace infertrail {

class Daemon {
 public:
  static Result<std::unique_ptr<Daemon>> start(const Config& config);
  ~Daemon();

  // Until `stop_fd` becomes readable (a signalfd), or a part fails.
  Status run(int stop_fd);
  // Detaches, or with `hand_over` leaves the capture to the next daemon; records what is open,
  // publishes. The error says what could not be written.
  Status stop(bool hand_over = false);

 private:
  explicit Daemon(const Config& config) : config_(config) {}
  Status open_trail();
  Status open_capture();
  Status open_control();
  Status start_capture();
  void note_start();
  void note_abandoned();
  Result<std::shared_ptr<const WrittenExchanges>> open_carry();
  void start_marking();
  Result<std::unique_ptr<Pipeline>> make_pipeline();
  void capture_loop();
  void drain();
  void watch_losses();
  void fill_status(StatusReply* out) const;
  void put(Record record);
  void note_coverage(const Coverage::Finding& finding);
  void note_stops(const TargetInfo& target);
  void watch_holds();
  void note_loss(const std::string& kind, LossCount now, LossCount* told);
  std::map<std::string, LossCount> all_losses() const;
  void watch_canary();
  void note(const std::string& kind, const std::string& what,
            const std::map<std::string, std::string>& facts);

  const Config config_;
  uint64_t started_ns_ = 0;
  std::unique_ptr<trail::TrailWriter> trail_;
  std::unique_ptr<Credentials> credentials_;
  PipelineCounts counts_;
  std::mutex own_mutex_;                    // of own_: main and control threads use it
  std::unique_ptr<Pipeline> own_;           // records that are not traffic
  Resolver resolver_;
  std::unique_ptr<Probes> probes_;
  std::unique_ptr<Carry> carry_;            // in probes_' memory; the trail's thread calls it
  std::atomic<Carry*> marking_{nullptr};    // who is told how far the trail is durable
  bool replayed_ = false;
  std::unique_ptr<Targets> targets_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::unique_ptr<Coverage> coverage_;
  std::unique_ptr<Canary> canary_;          // none: switched off
  std::unique_ptr<Strict> strict_;          // none: losses are counted
  std::unique_ptr<Intake> intake_;
  std::unique_ptr<Events> events_;
  std::unique_ptr<ControlServer> control_;
  std::atomic<bool> closing_{false}, stopping_{false}, capture_failed_{false};
  std::atomic<uint64_t> event_count_{0}, event_bytes_{0}, malformed_{0};
  std::map<std::string, LossCount> reported_;   // by kind, in records
  uint64_t reported_unprotected_ = 0;
  HoldCounts reported_holds_;
  bool canary_told_ = false;                    // that it is not seen
  std::thread capture_;
};

}  // namespace infertrail
