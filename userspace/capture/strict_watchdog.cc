#include "capture/strict_watchdog.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>

#include "capture/holds.h"
#include "capture/strict.h"
#include "infertrail/event.h"

namespace infertrail {
namespace {

constexpr char kArgument[] = "--infertrail-watchdog";
// Where the child finds its descriptors.
constexpr int kDaemon = 3, kWords = 4, kStopped = 5, kHeld = 6, kFirstOther = 7;
// Programs that are pinned can stop producers until the heartbeat is stale: as long and a little more.
constexpr int kRounds = 50;
constexpr useconds_t kBetweenUs = 50'000;
constexpr int kLookMs = 200;   // for who has waited too long

// Between fork and exec of a process with threads: system calls only.
[[noreturn]] void become(int daemon, int words, int stopped, int held) {
  setsid();   // a terminal's Ctrl-C is for the daemon
  const int a = fcntl(daemon, F_DUPFD, 16), b = fcntl(words, F_DUPFD, 16), c = fcntl(stopped, F_DUPFD, 16),
            d = fcntl(held, F_DUPFD, 16);
  const int none = open("/dev/null", O_RDWR);
  for (int standard : {0, 1, 2}) dup2(none, standard);   // whoever reads the daemon's output sees its end
  if (dup2(a, kDaemon) < 0 || dup2(b, kWords) < 0 || dup2(c, kStopped) < 0 || dup2(d, kHeld) < 0)
    _exit(127);
  syscall(SYS_close_range, kFirstOther, ~0u, 0);
  char self[] = "/proc/self/exe", name[] = "infertrail-watchdog", argument[sizeof(kArgument)];
  memcpy(argument, kArgument, sizeof(kArgument));
  char* arguments[] = {name, argument, nullptr};
  char* environment[] = {nullptr};
  execve(self, arguments, environment);
  _exit(127);
}

uint64_t word(uint32_t which) {
  uint64_t value = 0;
  return bpf_map_lookup_elem(kWords, &which, &value) == 0 ? value : 0;
}

void set_word(uint32_t which, uint64_t value) { bpf_map_update_elem(kWords, &which, &value, BPF_ANY); }

// The daemon may be stopped itself, or busy: nobody waits for it longer than this.
void continue_overdue() {
  if (const size_t n = continue_held(kHeld, kStopped, IT_HOLD_MAX_NS); n > 0)
    set_word(IT_HOLD_OVERDUE, word(IT_HOLD_OVERDUE) + n);
}

}  // namespace

Result<Watchdog> Watchdog::start(int words_map, int stopped_map, int held_map) {
  Fd self(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  if (!self.valid()) return Error{Code::kIo, std::string("pidfd_open: ") + std::strerror(errno)};
  Watchdog out;
  out.pid_ = fork();
  if (out.pid_ == 0) become(self.get(), words_map, stopped_map, held_map);
  if (out.pid_ < 0) return Error{Code::kIo, std::string("start the watchdog: ") + std::strerror(errno)};
  return out;
}

Watchdog::~Watchdog() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

std::optional<int> run_as_watchdog(int argc, char** argv) {
  if (argc != 2 || std::string_view(argv[1]) != kArgument) return std::nullopt;
  for (int number : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) signal(number, SIG_IGN);
  prctl(PR_SET_NAME, "infertrail-wdog");
  pollfd daemon{kDaemon, POLLIN, 0};
  for (int ready = 0; ready <= 0;) {
    ready = poll(&daemon, 1, word(IT_HOLD_ON) ? kLookMs : 5 * kLookMs);
    if (ready < 0 && errno != EINTR) break;
    continue_overdue();
  }
  const uint64_t heartbeat = word(IT_STRICT_HEARTBEAT), attaching = word(IT_HOLD_HEARTBEAT);
  for (int i = 0; i < kRounds; i++) {
    // A new daemon has taken over, and its watchdog.
    if (word(IT_STRICT_HEARTBEAT) != heartbeat || word(IT_HOLD_HEARTBEAT) != attaching) return 0;
    set_word(IT_STRICT_MARK, 0);
    set_word(IT_HOLD_ON, 0);
    continue_stopped(kStopped, kHeld);
    continue_held(kHeld, kStopped, 0);
    usleep(kBetweenUs);
  }
  return 0;
}

}  // namespace infertrail
