#include "cli/doctor_command.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <optional>

#include "base/procfs.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/status_command.h"
#include "cli/table.h"

namespace infertrail::cli {
namespace {

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

void check(DoctorReply* out, const char* name, bool ok, const std::string& found, const std::string& advice) {
  Check* row = out->add_checks();
  row->set_name(name);
  row->set_ok(ok);
  row->set_found(found);
  if (!ok) row->set_advice(advice);
}

bool kernel_is_new_enough(const std::string& release) {
  unsigned major = 0, minor = 0;
  if (std::sscanf(release.c_str(), "%u.%u", &major, &minor) != 2) return false;
  return major > 6 || (major == 6 && minor >= 1);
}

}  // namespace

DoctorReply local_checks(const Host& host) {
  DoctorReply out;
  check(&out, "kernel", kernel_is_new_enough(host.kernel_release), host.kernel_release,
        "use a kernel 6.1 or later");
  const std::string btf = host.sys + "/kernel/btf/vmlinux";
  check(&out, "BTF", exists(btf), exists(btf) ? btf : "no " + btf,
        "use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions do");
  const std::string cgroup = cgroup2_mount(host.proc);
  check(&out, "cgroup v2", !cgroup.empty(), cgroup.empty() ? "not mounted" : cgroup,
        "mount -t cgroup2 none /sys/fs/cgroup, or boot with systemd.unified_cgroup_hierarchy=1");
  std::string tracefs;
  for (const char* place : {"/kernel/tracing", "/kernel/debug/tracing"})
    if (tracefs.empty() && exists(host.sys + place + "/events")) tracefs = host.sys + place;
  check(&out, "tracefs", !tracefs.empty(), tracefs.empty() ? "not mounted, or not readable for this user" : tracefs,
        "mount -t tracefs nodev /sys/kernel/tracing, or run this with sudo");
  check(&out, "root", host.uid == 0, "user " + user_name(host.uid),
        "infertraild needs root (CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_PTRACE): use sudo");
  return out;
}

std::string doctor_text(const DoctorReply& reply, const Style& style) {
  Table table({{""}, {"check", false, 8}, {"found", false, 16}, {"what to do", false, 16}}, style);
  for (const Check& each : reply.checks())
    table.add({{each.ok() ? "ok" : "!!", each.ok() ? Colour::kGreen : Colour::kRed},
               {each.name()},
               {each.found()},
               {each.ok() ? "" : each.advice()}});
  std::string out = table.text();
  if (!reply.processes().empty()) out += "\n" + process_table(reply.processes(), style, "selector");
  return out;
}

Result<int> run_doctor(Context& context, const Arguments& arguments) {
  Client client(context.socket);
  DoctorReply reply;
  if (auto status = client.get("/v1/doctor", &reply); !status.ok()) {
    if (client.answered() || status.error().code == Code::kInvalid) return status.error();
    utsname name{};
    uname(&name);
    Host host;
    host.kernel_release = name.release;
    host.uid = geteuid();
    reply = local_checks(host);
    check(&reply, "daemon", false, "does not answer; these are the checks without it", status.error().message);
  }
  print(arguments.has("--json") ? to_json(reply) + "\n" : doctor_text(reply, context.style));
  for (const Check& each : reply.checks())
    if (!each.ok()) return kFailed;
  return kOk;
}

}  // namespace infertrail::cli
