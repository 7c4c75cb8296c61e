// What goes through the data ring: a child calls SSL_write and SSL_read in memory as fast as it can, for two seconds
// with each record size, first unwatched, then as a target whose records are read and only counted.
//
// ring_bench [SECONDS], as root. Prints events/s, MB/s, what was lost, the nanoseconds that an event costs the
// child and the reader, and the ratio of the child's calls to those without. Asserts no figure.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cinttypes>
#include <cstring>
#include <ctime>
#include <fstream>
#include <set>
#include <string>

#include "capture/events.h"
#include "capture/probes.h"
#include "capture/tls_library.h"
#include "tls_pair.h"

namespace infertrail {
namespace {

using bench::die;

double seconds_now(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

class Count : public CaptureHandler {
 public:
  uint64_t events = 0, bytes = 0;
  void on_exec(const abi::exec_event&) override {}
  void on_fork(const abi::fork_event&) override {}
  void on_exit(const abi::process_event&) override {}
  void on_mapped(const abi::process_event&) override {}
  void on_listen(const abi::listen_event&) override {}
  void on_flow_open(const abi::flow_open_event&) override {}
  void on_flow_close(const abi::flow_close_event&) override {}
  void on_flow_wire(const abi::flow_wire_event&) override {}
  void on_flow_owner(const abi::flow_owner_event&) override {}
  void on_flow_tls(const abi::flow_tls_event&) override {}
  void on_tls_open(const abi::tls_open_event&) override {}
  void on_tls_close(const abi::tls_close_event&) override {}
  void on_tls_shutdown(const abi::tls_close_event&) override {}
  void on_bind(const abi::bind_event&) override {}
  void on_loss(const abi::loss_event&) override {}
  void on_data(const abi::data_event&, std::string_view payload) override {
    events++;
    bytes += payload.size();
  }
  void on_orphan(const abi::orphan_event&, std::string_view) override {}
};

// The child: for each size that it reads, calls for `seconds`, then tells how many pairs and its CPU seconds.
[[noreturn]] void child(int in, int out, double seconds) {
  bench::TlsPair pair;
  for (uint64_t size; read(in, &size, sizeof(size)) == sizeof(size);) {
    std::vector<char> bytes(size, 'a');
    double result[2] = {0, seconds_now(CLOCK_PROCESS_CPUTIME_ID)};
    for (const double end = seconds_now(CLOCK_MONOTONIC) + seconds; seconds_now(CLOCK_MONOTONIC) < end;)
      for (int i = 0; i < 16; i++, result[0]++) pair.pass(bytes);
    result[1] = seconds_now(CLOCK_PROCESS_CPUTIME_ID) - result[1];
    if (write(out, result, sizeof(result)) != sizeof(result)) die("pipe");
  }
  _exit(0);
}

struct Child {
  int to = -1, from = -1;
  pid_t pid = -1;
  explicit Child(double seconds) {
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC | O_NONBLOCK) != 0 || (pid = fork()) < 0) die("fork");
    if (pid == 0) {
      close(in[1]);
      child(in[0], out[1], seconds);
    }
    close(in[0]);
    close(out[1]);
    to = in[1];
    from = out[0];
  }
  ~Child() {
    close(to);
    waitpid(pid, nullptr, 0);
  }
  void start(uint64_t size) {
    if (write(to, &size, sizeof(size)) != sizeof(size)) die("pipe");
  }
  bool done(double* result) { return read(from, result, 2 * sizeof(double)) == 2 * sizeof(double); }
};

// Files of these names that the process maps.
std::set<std::string> libraries(pid_t pid) {
  std::set<std::string> out;
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(maps, line);)
    if (line.find("libssl.so") != std::string::npos || line.find("libcrypto.so") != std::string::npos)
      out.insert(line.substr(line.find('/')));
  return out;
}

uint64_t lost(const Probes& probes) {
  uint64_t events = 0;
  for (const LossCount& each : probes.losses()) events += each.events;
  return events;
}

constexpr uint64_t kSizes[] = {100, 1024, 4096, 16384};

Status run(double seconds) {
  Child maker(seconds);
  double off[std::size(kSizes)][2];
  for (size_t i = 0; i < std::size(kSizes); i++) {
    maker.start(kSizes[i]);
    while (!maker.done(off[i])) usleep(1000);
  }
  ProbeOptions options;
  options.carry_bytes = 0;
  TRY(auto probes, Probes::open(options));
  Count count;
  TRY(auto events, Events::open(*probes, count));
  TRY_STATUS(probes->select(static_cast<uint32_t>(maker.pid)));
  std::vector<LibraryProbes> attached;
  for (const std::string& path : libraries(maker.pid)) {
    Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    TRY(const TlsSymbols symbols, read_tls_symbols(file.get()));
    TRY(LibraryProbes library, probes->attach_library(path, file.get(), symbols));
    attached.push_back(std::move(library));
  }
  probes->arm();
  std::printf("%8s %12s %10s %8s %14s %14s %12s\n", "bytes", "events/s", "MB/s", "lost", "child ns/event", "reader ns/event",
              "calls ratio");
  for (size_t i = 0; i < std::size(kSizes); i++) {
    const Count before = count;
    const uint64_t lost_before = lost(*probes);
    const double began = seconds_now(CLOCK_MONOTONIC), cpu = seconds_now(CLOCK_PROCESS_CPUTIME_ID);
    double on[2];
    maker.start(kSizes[i]);
    for (bool done = false; !done || !events->drained();) {
      done = done || maker.done(on);
      TRY_STATUS(events->round(10));
    }
    const double wall = seconds_now(CLOCK_MONOTONIC) - began, used = seconds_now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    const auto seen = static_cast<double>(count.events - before.events);
    if (seen == 0) return Error{Code::kIo, "no event was seen"};
    const double more = (on[1] / on[0] - off[i][1] / off[i][0]) / 2;   // a pair is two events
    std::printf("%8" PRIu64 " %12.0f %10.0f %8" PRIu64 " %14.0f %14.0f %12.2f\n", kSizes[i], seen / wall,
                static_cast<double>(count.bytes - before.bytes) / wall / 1e6, lost(*probes) - lost_before, more * 1e9,
                used / seen * 1e9, on[0] / off[i][0]);
    std::fflush(stdout);
  }
  return {};
}

}  // namespace
}  // namespace infertrail

int main(int argc, char** argv) {
  const auto status = infertrail::run(argc > 1 ? std::atof(argv[1]) : 2);
  if (!status.ok()) std::fprintf(stderr, "ring_bench: %s\n", status.error().message.c_str());
  return status.ok() ? 0 : 1;
}
