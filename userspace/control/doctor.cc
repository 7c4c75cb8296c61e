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

void check_losses(const Probes& probes, DoctorReply* out) {
  static const char* const kAdvice[IT_LOSS_KINDS] = {
      "raise capture.data_ring_bytes, or give the daemon more CPU",
      "memory of a target could not be read; the record names the place",
      "raise capture.control_ring_bytes",
      "more processes, connections or TLS objects than a map holds; report it",
      "a TLS call inside another one on one thread; report it with the program's name"};
  const auto losses = probes.losses();
  bool none = true;
  for (size_t kind = 0; kind < losses.size(); kind++) {
    if (losses[kind].events == 0) continue;
    none = false;
    check(out, std::string("lost: ") + Probes::loss_name(kind), false,
          std::to_string(losses[kind].events) + " events, " + std::to_string(losses[kind].bytes) + " bytes",
          kAdvice[kind]);
  }
  if (none) check(out, "lost", true, "nothing");
}

void check_target(const TargetInfo& info, DoctorReply* out) {
  const std::string name = "target " + std::to_string(info.facts.pid) + " " + info.facts.comm;
  for (const std::string& problem : info.problems)
    check(out, name, false, problem, "see the daemon's log; update the kernel or report the library");
  std::string holds;   // what may be to blame
  for (const std::string& each : info.unreadable) holds += "; it maps " + each;
  if (info.tls_blind_flows > 0)
    check(out, name, false,
          std::to_string(info.tls_blind_flows) + " TLS connections whose plaintext was not seen" + holds,
          info.libraries.empty()
              ? "no TLS library with OpenSSL's functions is mapped (rustls, Go, Java, BoringSSL without "
                "symbols): put a TLS proxy in front, or serve plain HTTP behind one"
              : "connections that were open before the capture stay dark until they write; restart "
                "the client if it lasts");
}

}  // namespace

void fill_doctor(const Probes& probes, const Targets& targets, DoctorReply* out) {
  check_kernel(out);
  for (const ProbeFeature& feature : probes.features())
    check(out, feature.name, feature.ok || !feature.needed, feature.detail,
          "recording works; this kernel gives less: " + feature.detail);
  check_losses(probes, out);
  const auto list = targets.list();
  if (list.empty())
    check(out, "targets", false, "no process is monitored",
          "`infertrail target discover` lists candidates; `infertrail target add exe=NAME` adds one");
  for (const TargetInfo& info : list) check_target(info, out);
}

}  // namespace infertrail
