// Daemon: its own records, of starts, targets, losses and coverage.
#include <spdlog/spdlog.h>

#include <utility>

#include "capture/kernel_needs.h"
#include "daemon/clock.h"
#include "daemon/daemon.h"
#include "daemon/version.h"

namespace infertrail {

void Daemon::note_start() {
  std::map<std::string, std::string> facts = {{"kernel", kernel_release()}, {"boot_id", boot_id()},
                                              {"version", kVersion}};
  for (const ProbeFeature& feature : probes_->features())
    facts["probe " + feature.name] = feature.ok ? feature.detail : "missing: " + feature.detail;
  for (const std::string& selector : config_.targets()) facts["target " + selector] = "selected";
  for (const std::string& selector : probes_->remembered_selectors()) facts["target " + selector] = "selected at run time";
  const Adoption& before = probes_->adoption();
  facts["adopted"] = before.adopted ? "yes" : "no";
  if (carry_->found().adopted) facts["streams_taken_up"] = std::to_string(carry_->found().streams);
  if (before.adopted) {
    facts["previous_pid"] = std::to_string(before.pid);
    facts["previous_end"] = before.handed_over ? "handed over" : "killed";
    if (before.alive_ns != 0 && before.alive_ns < started_ns_)
      facts["no_daemon_ms"] = std::to_string((started_ns_ - before.alive_ns) / 1'000'000);
    facts["unread_records"] = std::to_string(before.data.records + before.control.records);
    facts["unread_bytes"] = std::to_string(before.data.bytes + before.control.bytes);
    for (size_t kind = 0; kind < before.lost.size(); kind++)
      if (before.lost[kind].events != 0)
        facts[std::string("lost ") + Probes::loss_name(kind)] =
            std::to_string(before.lost[kind].events) + " events, " + std::to_string(before.lost[kind].bytes) + " bytes";
  }
  facts["backpressure"] = config_.capture().backpressure();
  note("capture.start", "capture starts", facts);
}

// What waited in rings of another version, which this one cannot read.
void Daemon::note_abandoned() {
  for (const Abandoned& each : probes_->abandoned()) {
    const uint64_t records = each.data.records + each.control.records;
    spdlog::warn("lost=upgrade records={} bytes={} from={}", records, each.data.bytes, each.folder);
    note("gap", "lost: upgrade",
         {{"reason", "upgrade"},
          {"records", std::to_string(records)},
          {"bytes", std::to_string(each.data.bytes)},
          {"maps", each.folder}});
  }
}

void Daemon::note_loss(const std::string& kind, LossCount now, LossCount* told) {
  const uint64_t events = now.events - told->events, bytes = now.bytes - told->bytes;
  if (events == 0) return;
  *told = now;
  spdlog::warn("lost={} events={} bytes={}", kind, events, bytes);
  note("gap", "lost: " + kind,
       {{"reason", kind}, {"events", std::to_string(events)}, {"bytes", std::to_string(bytes)}});
}

void Daemon::put(Record record) {
  const uint64_t now = unix_now_ns();
  record.mutable_time()->set_seconds(static_cast<int64_t>(now / 1'000'000'000));
  record.mutable_time()->set_nanos(static_cast<int32_t>(now % 1'000'000'000));
  std::lock_guard lock(own_mutex_);
  own_->record(std::move(record));
}

void Daemon::note(const std::string& kind, const std::string& what,
                  const std::map<std::string, std::string>& facts) {
  Record record;
  record.set_kind(kind);
  record.set_complete(true);
  record.mutable_event()->set_what(what);
  for (auto& [name, value] : facts) (*record.mutable_event()->mutable_facts())[name] = value;
  put(std::move(record));
}

void Daemon::note_coverage(const Coverage::Finding& finding) {
  const Flow& flow = finding.facts.flow;
  spdlog::warn("flow={} client={} server={} pid={} state=\"{}\" note=\"{}\"", flow.cookie(), flow.client(),
               flow.server(), finding.facts.process.pid(), finding.what, finding.note);
  Record record;
  record.set_kind(finding.over ? "coverage" : "gap");
  record.set_complete(finding.over);
  *record.mutable_flow() = flow;
  if (finding.reason == "tls_not_visible") record.mutable_flow()->set_bind("unresolved");
  *record.mutable_process() = finding.facts.process;
  *record.mutable_peer() = finding.facts.peer;
  record.mutable_event()->set_what(finding.what);
  if (finding.over) {
    (*record.mutable_event()->mutable_facts())["note"] = finding.note;
  } else {
    Gap* gap = record.add_gaps();
    gap->set_direction(finding.direction);
    gap->set_from(finding.from);
    gap->set_to(finding.to);
    gap->set_reason(finding.reason);
    gap->set_note(finding.note);
  }
  put(std::move(record));
}

}  // namespace infertrail
