#include "daemon/canary.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "base/procfs.h"
#include "daemon/canary_child.h"
#include "daemon/clock.h"

namespace infertrail {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 3s;
constexpr auto kStep = 5ms;

// The libssl that this program is linked with; the child's is the same.
bool own_libssl(struct stat* out) {
  auto mappings = read_mappings(static_cast<uint32_t>(getpid()));
  if (!mappings.ok()) return false;
  for (const Mapping& mapping : mappings.value())
    if (mapping.executable && mapping.path.find("/libssl.so") != std::string::npos)
      return stat(mapping.path.c_str(), out) == 0;
  return false;
}

// -> its exit code, -1: it did not end by itself.
int wait_for_end(pid_t pid, std::chrono::steady_clock::time_point until) {
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > until) {
      kill(pid, SIGKILL);
      waitpid(pid, &status, 0);
      return -1;
    }
    std::this_thread::sleep_for(kStep);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

bool Canary::fly() {
  const auto now = std::chrono::steady_clock::now();
  if (now < next_) return false;
  next_ = now + every_;
  State fresh = exchange();
  std::lock_guard lock(mutex_);
  if (fresh.outcome != Outcome::kSeen) fresh.last_seen_ns = state_.last_seen_ns;
  state_ = std::move(fresh);
  return true;
}

Canary::State Canary::exchange() {
  struct stat library {};
  if (!own_libssl(&library)) return {Outcome::kIdle, "this program's own libssl was not found", 0};
  if (!targets_.probes_file(library.st_dev, library.st_ino)) {
    next_ = std::chrono::steady_clock::now() + std::min<std::chrono::milliseconds>(every_, 5s);
    return {Outcome::kIdle, "no monitored process uses this host's libssl", 0};
  }
  const uint64_t lost = probes_.losses()[IT_LOSS_RING_FULL].events;
  auto child = start_canary();
  if (!child.ok()) return {Outcome::kIdle, child.error().message, 0};
  const auto pid = static_cast<uint32_t>(child.value().pid);
  watch_.begin(pid);   // before it can execute anything
  const auto until = std::chrono::steady_clock::now() + kPatience;
  auto selected = probes_.select(pid);
  child.value().gate.reset();
  const int code = wait_for_end(child.value().pid, until);
  const uint64_t read = watch_.times_caught_up();
  std::string missing = watch_.missing();
  while (!missing.empty() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(kStep);
    missing = watch_.missing();
  }
  const bool behind = watch_.times_caught_up() < read + 2;   // the first may have begun before the child's end
  watch_.end();
  probes_.deselect(pid);
  if (missing.empty()) return {Outcome::kSeen, "", unix_now_ns()};
  if (!selected.ok()) return {Outcome::kIdle, selected.error().message, 0};
  if (code != 0) return {Outcome::kIdle, "the exchange itself failed: step " + std::to_string(code), 0};
  if (probes_.losses()[IT_LOSS_RING_FULL].events != lost) return {Outcome::kIdle, "the data ring was full", 0};
  if (behind) return {Outcome::kIdle, "the rings were not read in time", 0};
  return {Outcome::kNotSeen, missing, 0};
}

Canary::State Canary::state() const {
  std::lock_guard lock(mutex_);
  return state_;
}

void Canary::fill(CanaryReport* out) const {
  const State now = state();
  out->set_state(now.outcome == Outcome::kSeen ? "seen" : now.outcome == Outcome::kIdle ? "idle" : "NOT SEEN");
  out->set_detail(now.detail);
  if (now.last_seen_ns != 0) out->mutable_last_seen()->set_seconds(static_cast<int64_t>(now.last_seen_ns / 1'000'000'000));
}

}  // namespace infertrail
