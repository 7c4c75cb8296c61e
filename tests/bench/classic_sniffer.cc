// classic_sniffer LIBSSL [TGID]: the benchmark's baseline (see classic_sniffer.bpf.c). Reads its ring
// and only counts. Says "ready" when attached; on SIGTERM or SIGINT prints one line of JSON.
#include <bpf/libbpf.h>
#include <signal.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "classic_sniffer.h"
#include "classic_sniffer.skel.h"

namespace {

volatile sig_atomic_t stopping = 0;

struct Delivered {
  uint64_t records = 0, bytes = 0;
};

int on_record(void* context, void* record, size_t) {
  auto* delivered = static_cast<Delivered*>(context);
  delivered->records++;
  delivered->bytes += static_cast<const classic_record*>(record)->copied;
  return 0;
}

bool attach(bpf_program* program, bool at_return, const char* library, const char* symbol) {
  LIBBPF_OPTS(bpf_uprobe_opts, options, .retprobe = at_return, .func_name = symbol);
  if (bpf_program__attach_uprobe_opts(program, -1, library, 0, &options)) return true;
  std::fprintf(stderr, "attach %s of %s: %s\n", symbol, library, std::strerror(errno));
  return false;
}

bool attach_all(classic_sniffer_bpf* sniffer, const char* library) {
  const struct {
    const char* symbol;
    bpf_program *enter, *exit;
  } rows[] = {{"SSL_read", sniffer->progs.call_enter, sniffer->progs.read_exit},
              {"SSL_write", sniffer->progs.call_enter, sniffer->progs.write_exit},
              {"SSL_read_ex", sniffer->progs.call_ex_enter, sniffer->progs.read_exit},
              {"SSL_write_ex", sniffer->progs.call_ex_enter, sniffer->progs.write_exit}};
  for (const auto& row : rows)
    if (!attach(row.exit, true, library, row.symbol) || !attach(row.enter, false, library, row.symbol))
      return false;
  return true;
}

void report(const Delivered& delivered, const classic_sniffer_bpf& sniffer) {
  const auto& kernel = *sniffer.bss;
  std::printf("{\"records\": %llu, \"bytes\": %llu, \"moved\": %llu, \"dropped_records\": %llu, "
              "\"dropped_bytes\": %llu, \"cut_bytes\": %llu}\n",
              static_cast<unsigned long long>(delivered.records),
              static_cast<unsigned long long>(delivered.bytes),
              static_cast<unsigned long long>(kernel.moved),
              static_cast<unsigned long long>(kernel.dropped_records),
              static_cast<unsigned long long>(kernel.dropped_bytes),
              static_cast<unsigned long long>(kernel.moved - kernel.dropped_bytes - kernel.copied));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: classic_sniffer LIBSSL [TGID]\n");
    return 2;
  }
  classic_sniffer_bpf* sniffer = classic_sniffer_bpf__open();
  if (!sniffer) return 1;
  sniffer->rodata->only_tgid = argc > 2 ? static_cast<uint32_t>(std::strtoul(argv[2], nullptr, 10)) : 0;
  if (classic_sniffer_bpf__load(sniffer) != 0 || !attach_all(sniffer, argv[1])) return 1;
  Delivered delivered;
  ring_buffer* ring = ring_buffer__new(bpf_map__fd(sniffer->maps.ring), on_record, &delivered, nullptr);
  if (!ring) return 1;
  struct sigaction action {};
  action.sa_handler = [](int) { stopping = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  std::printf("ready\n");
  std::fflush(stdout);
  while (!stopping)
    if (int n = ring_buffer__poll(ring, 100); n < 0 && n != -EINTR) break;
  ring_buffer__consume(ring);
  report(delivered, *sniffer);
  ring_buffer__free(ring);
  classic_sniffer_bpf__destroy(sniffer);
  return 0;
}
