#include "daemon/mounts.h"

#include <linux/magic.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/procfs.h"

namespace infertrail {
namespace {

constexpr char kTracefs[] = "/sys/kernel/tracing";
constexpr char kBpf[] = "/sys/fs/bpf";
constexpr char kCgroup[] = "/sys/fs/cgroup";

Error failed(const std::string& what) {
  return {Code::kPermission, what + ": " + std::strerror(errno)};
}

}  // namespace

Status mount_for_pins(const std::string& pin_dir) {
  struct statfs about {};
  if (!pin_dir.starts_with(std::string(kBpf) + "/")) return {};   // the administrator's own mount
  if (statfs(kBpf, &about) == 0 && about.f_type == BPF_FS_MAGIC) return {};
  if (mount("bpf", kBpf, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0)
    return failed(std::string("mount bpf at ") + kBpf);
  return {};
}

Status mount_missing() {
  const bool traces = access((std::string(kTracefs) + "/events").c_str(), R_OK) == 0 ||
                      access("/sys/kernel/debug/tracing/events", R_OK) == 0;
  const bool cgroups = !cgroup2_mount().empty();
  if (traces && cgroups) return {};
  if (unshare(CLONE_NEWNS) != 0) return failed("make a mount namespace");
  if (mount("none", "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return failed("keep mounts private");
  if (!traces && mount("tracefs", kTracefs, "tracefs", 0, nullptr) != 0)
    return failed(std::string("mount tracefs at ") + kTracefs);
  if (!cgroups && mount("cgroup2", kCgroup, "cgroup2", 0, nullptr) != 0)
    return failed(std::string("mount cgroup2 at ") + kCgroup);
  return {};
}

}  // namespace infertrail
