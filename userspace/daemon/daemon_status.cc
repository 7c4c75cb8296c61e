// Daemon: what `infertrail status` shows.
#include <unistd.h>

#include "daemon/daemon.h"
#include "daemon/version.h"

namespace infertrail {

std::map<std::string, LossCount> Daemon::all_losses() const {
  std::map<std::string, LossCount> out;
  const auto kernel = probes_->losses();
  for (size_t kind = 0; kind < kernel.size(); kind++) out[Probes::loss_name(kind)] = kernel[kind];
  out["probe_missed"] = {probes_->missed(), 0};
  out["orphans"] = intake_->orphans_lost();
  out["malformed"] = {malformed_, 0};
  out["refused"] = {counts_.refused, counts_.refused_bytes};
  std::erase_if(out, [](const auto& each) { return each.second.events == 0; });
  return out;
}

void Daemon::fill_status(StatusReply* out) const {
  out->set_version(kVersion);
  out->set_pid(static_cast<uint32_t>(getpid()));
  out->mutable_started()->set_seconds(static_cast<int64_t>(started_ns_ / 1'000'000'000));
  out->set_events(event_count_);
  out->set_bytes(event_bytes_);
  out->set_exchanges(counts_.exchanges);
  out->set_undecoded(counts_.undecoded);
  uint64_t sessions = 0, memory = 0;
  for (auto& worker : workers_) {
    sessions += worker->counts().sessions;
    memory += worker->counts().memory_bytes;
  }
  out->set_open_connections(sessions);
  out->set_memory_bytes(memory);
  const CarryCounts carry = carry_->counts();
  CarryStatus* to = out->mutable_carry();
  to->set_capacity_bytes(carry.capacity);
  to->set_bytes(carry.live);
  to->set_streams(carry.streams);
  to->set_evictions(carry.evictions);
  to->set_evicted_bytes(carry.evicted_bytes);
  to->set_without_room(carry.unkept);
  for (auto& [kind, count] : all_losses()) {
    Loss* loss = out->add_losses();
    loss->set_kind(kind);
    loss->set_events(count.events);
    loss->set_bytes(count.bytes);
  }
  out->set_ring_bytes(events_->ring_bytes());
  out->set_ring_waiting(events_->waiting_bytes());
  auto* pressure = out->mutable_backpressure();
  pressure->set_mode(config_.capture().backpressure());
  if (strict_) {
    const StrictCounts strict = strict_->counts();
    pressure->set_stops(strict.stops);
    pressure->set_held_now(strict.held_now);
    pressure->set_unprotected(strict.unprotected);
    pressure->set_repeats(strict.repeats);
  }
  const HoldCounts holds = targets_->holds();
  auto* stops = out->mutable_attach_stops();
  stops->set_on(holds.on);
  stops->set_stops(holds.stops);
  stops->set_held_now(holds.held_now);
  stops->set_overdue(holds.overdue);
  stops->set_refused(holds.refused);
  const CoverageTotals coverage = coverage_->totals();
  auto* summary = out->mutable_coverage();
  summary->set_plain(coverage.connections.plain);
  summary->set_tls(coverage.connections.tls);
  summary->set_read(coverage.connections.read);
  summary->set_dark(coverage.connections.dark);
  summary->set_dark_now(coverage.dark_now);
  summary->set_incomplete(coverage.connections.incomplete);
  out->mutable_canary()->set_state("off");
  if (canary_) canary_->fill(out->mutable_canary());
}

}  // namespace infertrail
