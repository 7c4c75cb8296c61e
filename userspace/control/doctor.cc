#include "control/doctor.h"

#include <sys/utsname.h>

namespace infertrail {
namespace {

void check(DoctorReply* out, const std::string& name, bool ok, const std::string& found,
           const std::string& advice = "") {
  Check* row = out->add_checks();
  row->set_name(name);
  row->set_ok(ok);
  row->set_found(found);
  row->set_advice(ok ? "" : advice);
}

void check_kernel(DoctorReply* out) {
  utsname name{};
  uname(&name);
  unsigned major = 0, minor = 0;
  const bool known = std::sscanf(name.release, "%u.%u", &major, &minor) == 2;
  check(out, "kernel", known && (major > 6 || (major == 6 && minor >= 1)), name.release,
        "use a kernel 6.1 or later");
}

struct LossAdvice {
  const char* kind;
  const char* advice;
};
constexpr LossAdvice kLossAdvice[] = {
    {"ring_full", "raise capture.data_ring_bytes, give the daemon more CPU, or set capture.backpressure: strict"},
    {"fault", "memory of a target could not be read; the record names the place"},
    {"control_full", "raise capture.control_ring_bytes"},
    {"map_full", "more processes, connections or TLS objects than a map holds; report it"},
    {"nested_call", "a TLS call inside another one on one thread; report it with the program's name"},
    {"entered_before", "writes of Go programs that were under way when their probes came"},
    {"probe_missed", "the kernel skipped events under load; connections of that time may miss their owner or end"},
    {"orphans", "first bytes of connections that never appeared; look for other filters on the same cgroup"},
    {"malformed", "kernel programs and daemon disagree: report it"},
    {"refused", "records that the trail did not take; the daemon's log says why"},
};

void check_losses(const StatusReply& status, DoctorReply* out) {
  for (const Loss& loss : status.losses()) {
    std::string advice = "see the daemon's log";
    for (const LossAdvice& each : kLossAdvice)
      if (loss.kind() == each.kind) advice = each.advice;
    check(out, "lost: " + loss.kind(), false,
          std::to_string(loss.events()) + " events, " + std::to_string(loss.bytes()) + " bytes", advice);
  }
  if (status.losses().empty()) check(out, "lost", true, "nothing");
}

void check_capture(const StatusReply& status, DoctorReply* out) {
  const Backpressure& pressure = status.backpressure();
  if (pressure.mode() == "strict")
    check(out, "back-pressure", pressure.unprotected() == 0,
          "strict: " + std::to_string(pressure.stops()) + " stops, " + std::to_string(pressure.held_now()) +
              " held now, " + std::to_string(pressure.repeats()) + " segments repeated, unprotected " +
              std::to_string(pressure.unprotected()) + " times",
          "producers were not held when they should have been: pid 1, a traced process, or a daemon that "
          "did not read for seconds; give it more CPU or a faster disk for the trail");
  const AttachStops& stops = status.attach_stops();
  if (stops.on())
    check(out, "stop until attached", stops.overdue() + stops.refused() == 0,
          std::to_string(stops.stops()) + " stops, " + std::to_string(stops.held_now()) + " held now, " +
              std::to_string(stops.overdue()) + " went on too early, " + std::to_string(stops.refused()) + " not stopped",
          "the daemon was too slow (give it more CPU), or the process was pid 1, traced, or its own child: the first "
          "bytes of these processes may be missing");
  const CanaryReport& canary = status.canary();
  if (!canary.state().empty())
    check(out, "canary", canary.state() != "NOT SEEN",
          canary.state() + (canary.detail().empty() ? "" : ": " + canary.detail()),
          "a TLS exchange of the daemon's own was not captured as a whole: restart infertraild; if it stays, "
          "something detaches its probes");
}

void check_target(const TargetInfo& info, const ProcessCoverage& seen, DoctorReply* out) {
  const std::string name = "target " + std::to_string(info.facts.pid) + " " + info.facts.comm;
  for (const std::string& problem : info.problems)
    check(out, name, false, problem, "see the daemon's log; update the kernel or report the library");
  std::string holds;   // what may be to blame
  for (const std::string& each : info.unreadable) holds += "; it maps " + each;
  if (seen.dark > 0)
    check(out, name, false, std::to_string(seen.dark) + " TLS connections whose plaintext was not seen" + holds,
          info.libraries.empty()
              ? "no TLS library that we know is mapped (rustls, Java, a stripped BoringSSL): put a TLS proxy in "
                "front, or serve plain HTTP behind one"
              : "connections that were open before the capture stay dark until they write; restart "
                "the client if it lasts");
  if (seen.incomplete > 0)
    check(out, name, false,
          std::to_string(seen.incomplete) + " TLS connections carried more than the plaintext that was seen",
          "`infertrail log --kind gap` names them: the program reads or writes by functions that are not probed "
          "(kTLS, SSL_sendfile), or did not read what came");
  if (seen.dark == 0 && seen.incomplete == 0 && info.problems.empty())
    check(out, name, true,
          std::to_string(seen.plain) + " connections in the clear, " + std::to_string(seen.read) + " of " +
              std::to_string(seen.tls) + " TLS connections read");
}

}  // namespace

void fill_doctor(const Probes& probes, const Targets& targets, const StatusReply& status,
                 const std::function<ProcessCoverage(uint32_t)>& coverage, DoctorReply* out) {
  check_kernel(out);
  for (const ProbeFeature& feature : probes.features())
    check(out, feature.name, feature.ok || !feature.needed, feature.detail,
          "recording works; this kernel gives less: " + feature.detail);
  check_losses(status, out);
  check_capture(status, out);
  const auto list = targets.list();
  if (list.empty())
    check(out, "targets", false, "no process is monitored",
          "`infertrail target discover` lists candidates; `infertrail target add exe=NAME` adds one");
  for (const TargetInfo& info : list) check_target(info, coverage(info.facts.pid), out);
}

}  // namespace infertrail
