#include "daemon/daemon.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <utility>

#include "base/crypto.h"
#include "control/api.h"
#include "daemon/clock.h"

namespace infertrail {
namespace {

using namespace std::chrono_literals;

std::chrono::milliseconds milliseconds(const google::protobuf::Duration& duration) {
  return std::chrono::seconds(duration.seconds()) + std::chrono::milliseconds(duration.nanos() / 1000000);
}

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::start(const Config& config) {
  std::unique_ptr<Daemon> daemon(new Daemon(config));
  daemon->started_ns_ = unix_now_ns();
  TRY_STATUS(daemon->open_trail());
  TRY_STATUS(daemon->open_capture());
  TRY_STATUS(daemon->open_control());
  return daemon;
}

Status Daemon::open_trail() {
  trail::TrailOptions options;
  options.dir = config_.trail();
  options.origin = config_.trail_options().origin();
  options.key_file = config_.trail_options().key_file();
  options.boot_id = boot_id();
  options.segment_bytes = config_.trail_options().segment_bytes();
  options.checkpoint_interval = milliseconds(config_.trail_options().checkpoint_interval());
  options.on_sequenced = [this](uint64_t index, const std::string&) {
    if (Carry* carry = marking_) carry->mark(index + 1);
  };
  TRY(trail_, trail::TrailWriter::open(options));
  TRY(Credentials credentials, Credentials::open(config_.trail() + "/keys/credential.key"));
  credentials_ = std::make_unique<Credentials>(std::move(credentials));
  TRY(own_, make_pipeline());
  return {};
}

Result<std::unique_ptr<Pipeline>> Daemon::make_pipeline() {
  const auto& names = config_.masking().detectors();
  TRY(Masker masker, Masker::make({names.begin(), names.end()}));
  return std::make_unique<Pipeline>(std::move(masker), *credentials_, *trail_, counts_,
                                    config_.plaintext_digests());
}

Status Daemon::open_capture() {
  const Capture& capture = config_.capture();
  ProbeOptions probe_options;
  probe_options.data_ring_bytes = capture.data_ring_bytes();
  probe_options.control_ring_bytes = capture.control_ring_bytes();
  probe_options.pin_root = capture.pin_dir();
  probe_options.carry_bytes = capture.carry_bytes() / sizeof(uint64_t) * sizeof(uint64_t);
  TRY(probes_, Probes::open(probe_options));
  targets_ = std::make_unique<Targets>(*probes_);
  TRY(auto written, open_carry());

  WorkerOptions options;
  options.carry = carry_.get();
  options.written = std::move(written);
  options.session.conversation.max_body_bytes = capture.max_body_bytes();
  options.session.conversation.digests = config_.plaintext_digests();
  options.max_memory_bytes = capture.max_memory_bytes() / capture.workers();
  options.idle_ns = static_cast<uint64_t>(milliseconds(capture.idle_timeout()).count()) * 1'000'000;
  std::vector<Worker*> workers;
  for (uint32_t i = 0; i < capture.workers(); i++) {
    TRY(auto pipeline, make_pipeline());
    workers_.push_back(std::make_unique<Worker>(options, std::move(pipeline)));
    workers.push_back(workers_.back().get());
  }
  coverage_ = std::make_unique<Coverage>([this](const Coverage::Finding& finding) { note_coverage(finding); });
  targets_->judge_by([this](uint32_t tgid) { return coverage_->of(tgid).dark; });
  targets_->tell_stops([this](const TargetInfo& target) { note_stops(target); });
  if (const auto every = milliseconds(capture.canary_interval()); every.count() > 0)
    canary_ = std::make_unique<Canary>(*probes_, *targets_, every);
  intake_ = std::make_unique<Intake>(
      *targets_, resolver_, *coverage_, workers.size(),
      [workers](size_t worker, std::vector<StreamMessage> batch) { workers[worker]->push(std::move(batch)); },
      canary_ ? &canary_->watch() : nullptr, carry_.get());
  TRY(events_, Events::open(*probes_, *intake_));

  note_start();
  return start_capture();
}

// What an earlier daemon left of open exchanges, and which of those it had written all the same.
Result<std::shared_ptr<const WrittenExchanges>> Daemon::open_carry() {
  const trail::TrailStats trail = trail_->stats();
  CarryOptions options;
  options.boot_id = boot_id();
  const std::string name = sha256(trail.origin + '\0' + std::filesystem::weakly_canonical(config_.trail()).string());
  std::memcpy(&options.trail, name.data(), sizeof(options.trail));
  carry_ = std::make_unique<Carry>(probes_->carry(), options);
  const CarryFound& found = carry_->found();
  if (!found.fresh.empty()) spdlog::warn("carry=fresh lost={} reason=\"{}\"", found.lost, found.fresh);
  const Adoption& before = probes_->adoption();
  const bool none = before.adopted && !before.handed_over && !found.adopted && !found.lost;   // killed, and kept nothing
  if (found.lost || none || found.corrupt > 0 || found.unkept > 0) {
    spdlog::warn("lost=carry segments={} records={}", found.corrupt, found.unkept);
    note("gap", "lost: open exchanges of the daemon before",
         {{"reason", "daemon_down"},
          {"why", none ? "it was killed and had no memory to keep them" : found.lost ? found.fresh : "it was full or damaged"},
          {"damaged_segments", std::to_string(found.corrupt)},
          {"records_without_room", std::to_string(found.unkept)}});
  }
  std::shared_ptr<const WrittenExchanges> written;
  if (found.adopted && found.streams > 0 && found.mark <= trail.size) {
    TRY(WrittenExchanges since, written_since(config_.trail(), found.mark));
    spdlog::info("carry=adopted streams={} bytes={} trail_mark={} written_since={}", found.streams,
                 carry_->counts().live, found.mark, since.size());
    written = std::make_shared<const WrittenExchanges>(std::move(since));
  } else {
    carry_->mark(trail.size);
    marking_ = carry_.get();
  }
  return written;
}

// From here on the mark may pass what the killed daemon wrote: the workers have seen all of it, and
// with the second tick also what was waiting for its socket.
void Daemon::start_marking() {
  if (marking_ != nullptr) return;
  for (auto& worker : workers_)
    if (worker->ticks() < 2) return;
  marking_ = carry_.get();
}

// After a restart the programs of the earlier daemon act until every target's libraries are attached
// again; nothing is read from the rings before it is known whose it is.
Status Daemon::start_capture() {
  reported_holds_ = targets_->holds();   // an earlier daemon's are in the trail
  const bool adopted = probes_->adoption().adopted;
  const LossCounts told = probes_->losses_told();
  for (size_t kind = 0; kind < told.size(); kind++) reported_[Probes::loss_name(kind)] = told[kind];
  if (config_.capture().backpressure() == "strict") {
    TRY(strict_, Strict::open(*probes_));
  } else {
    TRY_STATUS(Strict::disable(*probes_));   // an earlier daemon may have been strict
  }
  if (adopted) {
    for (const RememberedTarget& each : probes_->remembered()) resolver_.note(each.facts);
    targets_->adopt();
  } else {
    probes_->arm();   // the targets are attached one by one from here on; nothing was selected before
    capture_ = std::thread([this] { capture_loop(); });
  }
  for (const std::string& selector : config_.targets()) TRY_STATUS(targets_->add(selector, false));
  if (adopted) {
    for (const std::string& selector : probes_->remembered_selectors())
      if (auto status = targets_->add(selector); !status.ok()) {
        spdlog::warn("selector=\"{}\" state=dropped error=\"{}\"", selector, status.error().message);
        probes_->forget_selector(selector);
      }
    targets_->restored();
    probes_->arm();
    replayed_ = true;
    intake_->replay({[this](std::string_view record) { events_->replay_control(record); },
                     [this](std::string_view record) { events_->replay_data(record); }});
    capture_ = std::thread([this] { capture_loop(); });
  }
  note_abandoned();
  return {};
}

Status Daemon::open_control() {
  ApiSources sources{*probes_,
                     *targets_,
                     *trail_,
                     config_.trail(),
                     [this](StatusReply* out) { fill_status(out); },
                     [this](uint32_t pid) { return coverage_->of(pid); },
                     [this](const std::string& what, const std::string& selector, uid_t by) {
                       note("target", what, {{"selector", selector}, {"by_uid", std::to_string(by)}});
                     },
                     [this] { return closing_.load(); }};
  TRY(control_, ControlServer::open(config_.socket(), api_routes(std::move(sources))));
  return {};
}

void Daemon::capture_loop() {
  auto next_tick = std::chrono::steady_clock::now();
  auto next_sweep = next_tick;
  while (!stopping_) {
    const uint64_t began_ns = unix_now_ns();
    if (auto status = events_->round(10); !status.ok()) {
      spdlog::error("capture=failed error=\"{}\"", status.error().message);
      capture_failed_ = true;
      return;
    }
    intake_->flush();
    event_count_ = events_->counts().events;
    event_bytes_ = events_->counts().bytes;
    malformed_ = events_->counts().malformed;
    const auto now = std::chrono::steady_clock::now();
    if (now >= next_tick && events_->drained()) {
      intake_->tick(probes_->waiting_reads(), began_ns);
      next_tick = now + 100ms;
    }
    if (now >= next_sweep) {
      targets_->sweep(events_->drained());
      next_sweep = now + 5s;
    }
  }
}

// What a record of its stream may not say becomes a record of its own: kinds that no stream can name,
// and the sums of those that one can.
void Daemon::watch_losses() {
  coverage_->probes_missed(probes_->missed());
  for (auto& [kind, now] : all_losses()) note_loss(kind, now, &reported_[kind]);
  LossCounts told;
  for (size_t kind = 0; kind < told.size(); kind++) told[kind] = reported_[Probes::loss_name(kind)];
  probes_->tell(told, reported_["probe_missed"].events);   // for the daemon after this one
  watch_holds();
  if (!strict_) return;
  const StrictCounts strict = strict_->counts();
  const uint64_t unprotected = strict.unprotected - std::exchange(reported_unprotected_, strict.unprotected);
  if (unprotected == 0) return;
  spdlog::warn("backpressure=unprotected times={} stops={}", unprotected, strict.stops);
  note("gap", "unprotected: the ring was over the mark and nobody was held",
       {{"reason", "unprotected"}, {"times", std::to_string(unprotected)}, {"stops", std::to_string(strict.stops)}});
}

// Who should have waited for its probes and did not: its first bytes may be missing.
void Daemon::watch_holds() {
  const HoldCounts now = targets_->holds(), told = std::exchange(reported_holds_, now);
  const uint64_t overdue = now.overdue - told.overdue, refused = now.refused - told.refused;
  if (overdue + refused == 0) return;
  spdlog::warn("stop_until_attached=missed overdue={} refused={}", overdue, refused);
  note("gap", "not attached before the first plaintext: processes that were to be stopped until then",
       {{"reason", "attach_late"}, {"went_on_early", std::to_string(overdue)}, {"not_stopped", std::to_string(refused)}});
}

void Daemon::note_stops(const TargetInfo& target) {
  note("target", "stopped until its TLS functions were probed",
       {{"pid", std::to_string(target.facts.pid)},
        {"exe", target.facts.exe},
        {"selector", target.selector},
        {"stops", std::to_string(target.stops)},
        {"stopped_us", std::to_string(target.stopped_ns / 1000)},
        {"longest_us", std::to_string(target.longest_stop_ns / 1000)}});
}

// A change is a record; while it stays unseen, the status says so.
void Daemon::watch_canary() {
  if (!canary_ || !canary_->fly()) return;
  const Canary::State state = canary_->state();
  if (state.outcome == Canary::Outcome::kNotSeen && !std::exchange(canary_told_, true)) {
    spdlog::error("canary=not_seen missing=\"{}\"", state.detail);
    note("gap", "CAPTURE DOES NOT SEE: a TLS exchange of the daemon's own was not captured",
         {{"reason", "canary"}, {"missing", state.detail}});
  }
  if (state.outcome == Canary::Outcome::kSeen && std::exchange(canary_told_, false))
    note("coverage", "capture sees again: the daemon's own TLS exchange was captured", {});
}

Status Daemon::run(int stop_fd) {
  pollfd watched{stop_fd, POLLIN, 0};
  while (!capture_failed_) {
    if (poll(&watched, 1, 1000) > 0) return {};
    watch_losses();
    start_marking();
    probes_->retire();
    watch_canary();
  }
  return Error{Code::kIo, "the capture thread failed; the log says why"};
}

// A round is bounded; what waits in the rings at the end may take several. With programs that still
// act there is no end: until a round read up to where the ring stood, at most kDrainRounds.
void Daemon::drain() {
  constexpr int kDrainRounds = 100;
  const bool acting = probes_->left();
  uint64_t seen;
  int rounds = 0;
  do {
    seen = events_->counts().events;
    if (auto status = events_->round(0); !status.ok())
      return spdlog::error("capture=failed error=\"{}\"", status.error().message);
  } while (acting ? !events_->drained() && ++rounds < kDrainRounds : events_->counts().events != seen);
}

Status Daemon::stop(bool hand_over) {
  if (!trail_) return {};
  closing_ = true;
  if (control_) control_->stop();
  const bool strict = strict_ != nullptr;
  strict_.reset();   // while the capture thread still reads: who was held goes on, and finds room
  if (strict) std::this_thread::sleep_for(20ms);
  stopping_ = true;
  if (capture_.joinable()) capture_.join();
  // A start that failed before it took up what the daemon before left, leaves it to the next one.
  const bool untouched = carry_ && carry_->enabled() && probes_->adoption().adopted && !replayed_;
  if (probes_ && (hand_over || untouched)) probes_->leave();
  const bool left = probes_ && probes_->left();
  if (probes_ && events_) {
    if (!left) probes_->disarm();
    drain();
    intake_->tick(probes_->waiting_reads(), unix_now_ns());
    coverage_->finish(unix_now_ns());
    intake_->flush();
    watch_losses();
  }
  if (left && carry_ && carry_->enabled())
    for (auto& worker : workers_) worker->leave_open();
  workers_.clear();   // each records what is open, unless the next daemon goes on with it
  events_.reset();
  intake_.reset();
  canary_.reset();
  coverage_.reset();
  targets_.reset();
  if (own_)
    note("capture.stop", left ? "capture is left to the next daemon" : "capture stops",
         {{"events", std::to_string(event_count_)}});
  own_.reset();
  Status closed = trail_->close();
  trail_.reset();
  marking_ = nullptr;
  carry_.reset();
  probes_.reset();    // nothing of ours is attached from here on, unless it was left to the next daemon
  return closed;
}

Daemon::~Daemon() {
  if (auto status = stop(); !status.ok()) spdlog::error("stop error=\"{}\"", status.error().message);
}

}  // namespace infertrail
