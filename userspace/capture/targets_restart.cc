// The part of Targets that takes up what an earlier daemon had chosen.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "capture/targets.h"

namespace infertrail {
namespace {

// The kernel's own start times are not rounded to clock ticks (10 ms), those of /proc are.
bool same_start(uint64_t a, uint64_t b) {
  constexpr uint64_t kTick = 10'000'000;
  return a / kTick == b / kTick;
}

}  // namespace

void Targets::adopt() {
  std::lock_guard lock(mutex_);
  restoring_ = true;
  const std::vector<uint32_t> selected = probes_.selected();
  for (RememberedTarget& each : probes_.remembered()) {
    const uint32_t tgid = each.facts.pid;
    auto live = read_process(tgid, proc_);
    const bool lives = live.ok() && same_start(live.value().start_boot_ns, each.facts.start_boot_ns) &&
                       std::find(selected.begin(), selected.end(), tgid) != selected.end();
    TargetInfo info;
    info.facts = lives ? live.value() : each.facts;
    info.selector = each.selector;
    spdlog::info("target={} exe={} selector=\"{}\" state={}", tgid, info.facts.exe, info.selector,
                 lives ? "adopted" : "ended");
    targets_[tgid] = std::move(info);
    if (lives) scan_libraries(tgid);
  }
  for (const RememberedLibrary& each : probes_.remembered_libraries())
    if (!libraries_.contains({each.device, each.inode})) adopt_library(each);
}

// Nobody uses it now; whoever comes next, for a short time, finds its probes. Only what this mount
// namespace can name: a container's file without a process has no path of ours.
void Targets::adopt_library(const RememberedLibrary& each) {
  struct stat file {};
  const auto same = [&] { return file.st_dev == each.device && file.st_ino == each.inode; };
  Fd fd;   // looked at before it is opened: another file may have the path now, and not be a regular one
  if (stat(each.path.c_str(), &file) == 0 && same()) fd = Fd(open(each.path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid() || fstat(fd.get(), &file) != 0 || !same()) {
    probes_.forget_library(each.device, each.inode);
    return;
  }
  Library& library = libraries_[{each.device, each.inode}];
  library.unused_since = steady_seconds();
  look_at(&library, each.path, "/proc/self/fd/" + std::to_string(fd.get()), fd.get(), file);
}

void Targets::restored() {
  std::lock_guard lock(mutex_);
  restoring_ = false;
  update_take_new();
  std::vector<uint32_t> unwanted;
  for (auto& [tgid, info] : targets_)
    if (!wanted(info)) unwanted.push_back(tgid);
  for (uint32_t tgid : unwanted) drop(tgid);
  for (uint16_t port : probes_.watched_ports()) {
    const bool ours = std::any_of(selectors_.begin(), selectors_.end(),
                                  [&](const Selector& each) { return each.port() == port; });
    if (!ours) probes_.unwatch_port(port);
  }
}

// Its own selector is still there, for it or for the parent that it was inherited from.
bool Targets::wanted(const TargetInfo& info) const {
  for (const Selector& each : selectors_)
    if (info.chosen_by(each.text())) return true;
  return !why(info.facts, true).empty();
}

// A process that the kernel holds and that nobody told us about: its event was lost, or an earlier
// daemon was killed between the event and the decision. Seen twice, so that no event is under way.
void Targets::decide_strays() {
  std::set<uint32_t> strays;
  for (uint32_t tgid : probes_.selected())
    if (!targets_.contains(tgid)) strays.insert(tgid);
  for (uint32_t tgid : strays) {
    if (!strays_.contains(tgid)) continue;
    auto facts = read_process(tgid, proc_);
    std::string reason = facts.ok() ? why(facts.value(), true) : "";
    auto parent = facts.ok() ? targets_.find(facts.value().ppid) : targets_.end();
    if (reason.empty() && parent != targets_.end()) reason = parent->second.selector;
    if (!reason.empty())
      choose(facts.value(), reason);
    else
      probes_.deselect(tgid);
  }
  strays_ = std::move(strays);
}

}  // namespace infertrail
