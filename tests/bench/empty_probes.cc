// empty_probes FILE [pair|session]: the same places of a TLS library as infertraild's, with a program that
// does nothing: what the kernel asks for a hit, below which no capture at these places can go.
//   pair      entry and return are two links, as the daemon's
//   session   one link for both (Linux 6.13); its entry says that no return is wanted
// Says "ready" when attached; ends on SIGTERM.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <iterator>
#include <string>

#include "capture/probe_plan.h"
#include "capture/uprobe_link.h"

using namespace infertrail;

namespace {

Fd program(int type, int result) {
  const bpf_insn code[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, result}, {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
  LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = static_cast<bpf_attach_type>(type));
  return Fd(bpf_prog_load(BPF_PROG_TYPE_KPROBE, "empty", "GPL", code, std::size(code), &options));
}

Status attach(const std::string& path, bool session, std::vector<Fd>* links) {
  Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) return Error{Code::kIo, path + ": " + std::strerror(errno)};
  const FileSource source(file.get());
  TRY(TlsSymbols symbols, read_tls_symbols(source));
  const ProbePlan plan = plan_probes(symbols, source, 0, Reach::kInternal);
  if (!symbols.is_tls() && !symbols.is_bio()) return Error{Code::kNotFound, path + ": no TLS functions"};
  const bool multi = kernel_has_uprobe_multi();
  const Fd empty = program(multi ? kUprobeMultiType : 0, 0);
  if (!empty.valid()) return Error{Code::kUnsupported, std::string("load: ") + std::strerror(errno)};
  TRY_STATUS(attach_uprobes(empty.get(), multi, false, path, plan.exits, links));
  if (!session) {
    TRY_STATUS(attach_uprobes(empty.get(), multi, true, path, plan.returns, links));
    return attach_uprobes(empty.get(), multi, false, path, plan.enters, links);
  }
  const Fd both = program(kUprobeSessionType, 1);
  if (!both.valid()) return Error{Code::kUnsupported, "this kernel has no uprobe sessions (Linux 6.13)"};
  std::vector<UprobePlace> sessions, enters;
  for (const UprobePlace& enter : plan.enters) {
    bool returns = false;
    for (const UprobePlace& each : plan.returns) returns = returns || each.offset == enter.offset;
    (returns ? sessions : enters).push_back(enter);
  }
  TRY_STATUS(attach_session(both.get(), path, sessions, links));
  return attach_uprobes(empty.get(), multi, false, path, enters, links);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: empty_probes FILE [pair|session]\n");
    return 2;
  }
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  sigprocmask(SIG_BLOCK, &ends, nullptr);
  std::vector<Fd> links;
  if (Status status = attach(argv[1], argc > 2 && std::strcmp(argv[2], "session") == 0, &links); !status.ok()) {
    std::fprintf(stderr, "empty_probes: %s\n", status.error().message.c_str());
    return 1;
  }
  std::printf("ready\n");
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ends, &signal);
  return 0;
}
