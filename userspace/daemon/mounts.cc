#include "daemon/mounts.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "base/procfs.h"

namespace infertrail {
namespace {

constexpr char kTracefs[] = "/sys/kernel/tracing";
constexpr char kCgroup[] = "/sys/fs/cgroup";

Error failed(const std::string& what) {
  return {Code::kPermission, what + ": " + std::strerror(errno)};
}

}  // namespace

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
