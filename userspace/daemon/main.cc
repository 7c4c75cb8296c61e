// infertraild: wiring and shutdown only; daemon.h is what runs.
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdio>

#include "capture/pins.h"
#include "daemon/daemon.h"
#include "daemon/mounts.h"
#include "daemon/options.h"
#include "daemon/version.h"

using namespace infertrail;

namespace {

constexpr int kFailed = 1, kUsage = 2;

int complain(const Error& error, int code) {
  std::fprintf(stderr, "infertraild: %s\n", error.message.c_str());
  return code;
}

// spdlog throws when a sink cannot be made; stderr always can.
void set_up_log(const std::string& level) {
  spdlog::set_default_logger(spdlog::stderr_color_mt("infertraild"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
  spdlog::set_level(spdlog::level::from_str(level));
}

int detach(const std::string& pin_dir) {
  auto removed = detach_leftovers(pin_dir);
  if (!removed.ok()) return complain(removed.error(), kFailed);
  for (const Leftover& each : removed.value())
    std::printf("removed %s: %zu links, %zu maps\n", each.folder.c_str(), each.links, each.maps);
  if (removed.value().empty()) std::printf("nothing is left in %s\n", pin_dir.c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  auto options = parse_options(argc, argv);
  if (!options.ok()) return complain(options.error(), kUsage);
  if (options.value().help) return std::fputs(usage().c_str(), stdout) < 0;
  if (options.value().version) return std::printf("infertraild %s\n", kVersion) < 0;
  if (options.value().check_only) return std::puts("configuration and policies are valid") < 0;
  if (options.value().detach) return detach(options.value().config.capture().pin_dir());
  set_up_log(options.value().config.log_level());

  if (auto status = mount_for_pins(options.value().config.capture().pin_dir()); !status.ok())
    spdlog::warn("mounts=missing error=\"{}\"", status.error().message);
  if (auto status = mount_missing(); !status.ok()) spdlog::warn("mounts=missing error=\"{}\"", status.error().message);

  // Before any thread is made: all of them inherit the mask, the signals come by descriptor.
  sigset_t stop_signals;
  sigemptyset(&stop_signals);
  sigaddset(&stop_signals, SIGINT);
  sigaddset(&stop_signals, SIGTERM);
  sigaddset(&stop_signals, SIGUSR2);
  sigprocmask(SIG_BLOCK, &stop_signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  Fd stop_fd(signalfd(-1, &stop_signals, SFD_CLOEXEC | SFD_NONBLOCK));

  auto daemon = Daemon::start(options.value().config);
  if (!daemon.ok()) return complain(daemon.error(), kFailed);
  std::fputs("ready\n", stderr);
  Status ran = daemon.value()->run(stop_fd.get());
  signalfd_siginfo signal{};
  const bool asked = read(stop_fd.get(), &signal, sizeof(signal)) == sizeof(signal);
  const bool hand_over = asked && (signal.ssi_signo == SIGUSR2 || options.value().config.capture().keep_on_stop());
  Status stopped = daemon.value()->stop(hand_over);
  if (!ran.ok()) return complain(ran.error(), kFailed);
  if (!stopped.ok()) return complain(stopped.error(), kFailed);
  return 0;
}
