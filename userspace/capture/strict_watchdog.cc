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

#include "capture/strict.h"
#include "infertrail/event.h"

namespace infertrail {
namespace {

constexpr char kArgument[] = "--infertrail-watchdog";
// Where the child finds its descriptors.
constexpr int kDaemon = 3, kWords = 4, kStopped = 5, kFirstOther = 6;
// Programs that are pinned can stop producers until the heartbeat is stale: as long and a little more.
constexpr int kRounds = 50;
constexpr useconds_t kBetweenUs = 50'000;

// Between fork and exec of a process with threads: system calls only.
[[noreturn]] void become(int daemon, int words, int stopped) {
  setsid();   // a terminal's Ctrl-C is for the daemon
  const int a = fcntl(daemon, F_DUPFD, 16), b = fcntl(words, F_DUPFD, 16), c = fcntl(stopped, F_DUPFD, 16);
  const int none = open("/dev/null", O_RDWR);
  for (int standard : {0, 1, 2}) dup2(none, standard);   // whoever reads the daemon's output sees its end
  if (dup2(a, kDaemon) < 0 || dup2(b, kWords) < 0 || dup2(c, kStopped) < 0) _exit(127);
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

}  // namespace

Result<Watchdog> Watchdog::start(int words_map, int stopped_map) {
  Fd self(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)));
  if (!self.valid()) return Error{Code::kIo, std::string("pidfd_open: ") + std::strerror(errno)};
  Watchdog out;
  out.pid_ = fork();
  if (out.pid_ == 0) become(self.get(), words_map, stopped_map);
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
  while (poll(&daemon, 1, -1) < 0 && errno == EINTR) continue;
  const uint64_t heartbeat = word(IT_STRICT_HEARTBEAT);
  for (int i = 0; i < kRounds; i++) {
    if (word(IT_STRICT_HEARTBEAT) != heartbeat) return 0;   // a new daemon has taken over, and its watchdog
    const uint32_t mark = IT_STRICT_MARK;
    const uint64_t never = 0;
    bpf_map_update_elem(kWords, &mark, &never, BPF_ANY);
    continue_stopped(kStopped);
    usleep(kBetweenUs);
  }
  return 0;
}

}  // namespace infertrail
