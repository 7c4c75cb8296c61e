// Probes: attaching to the functions of one file.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "capture/gnutls_probes.h"
#include "capture/probes.h"
#include "capture/skeleton.h"

namespace infertrail {

// The number of the next library, with counters at 0.
Result<uint32_t> Probes::count_library() {
  const uint32_t number = next_library_ % IT_LIBRARIES;
  const int cpus = libbpf_num_possible_cpus();
  const std::vector<abi::library_hits> none(cpus > 0 ? static_cast<size_t>(cpus) : 0);
  if (none.empty() || bpf_map_update_elem(bpf_map__fd(object_->maps.library_hits), &number, none.data(), BPF_ANY) != 0)
    return Error{Code::kIo, std::string("count the hits of a library: ") + std::strerror(errno)};
  return number;
}

Result<LibraryProbes> Probes::attach_library(const std::string& path, int fd, const TlsSymbols& symbols) {
  TRY(const uint32_t number, count_library());   // most files are no TLS libraries: it is used up below
  auto& programs = object_->progs;
  auto tls = LibraryProbes::attach(
      {bpf_program__fd(programs.tls_enter), bpf_program__fd(programs.tls_exit), uprobe_multi_}, path, fd, symbols, number);
  const auto is_gnutls = [](const TlsEvidence& each) { return each.stack == TlsStack::kGnuTls; };
  if (std::ranges::any_of(symbols.stacks, is_gnutls)) TRY_STATUS(add_gnutls(path, fd, number, &tls));
  if (!tls.ok()) return tls;
  next_library_++;
  TRY_STATUS(pin(&tls.value()));
  return tls;
}

// A file may have both inside.
Status Probes::add_gnutls(const std::string& path, int fd, uint32_t number, Result<LibraryProbes>* tls) {
  auto& programs = object_->progs;
  auto gnutls = attach_gnutls(
      {bpf_program__fd(programs.gnutls_enter), bpf_program__fd(programs.gnutls_exit), uprobe_multi_}, path, fd, number, gnutls_binding_);
  if (gnutls.ok() && tls->ok()) {
    tls->value().add(std::move(gnutls.value().links));
  } else if (gnutls.ok()) {
    *tls = LibraryProbes::adopt(std::move(gnutls.value().links), number, true, gnutls.value().how);
  } else if (gnutls.error().code != Code::kNotFound && gnutls.error().code != Code::kInvalid) {
    if (!tls->ok()) return wrap(gnutls.error(), "GnuTLS");
    spdlog::warn("library={} error=\"GnuTLS: {}\"", path, gnutls.error().message);
  }
  return {};
}

Result<LibraryProbes> Probes::attach_program(const std::string& path, const GoPlaces& places) {
  TRY(const uint32_t number, count_library());
  auto& programs = object_->progs;
  TRY(auto links, attach_go({bpf_program__fd(programs.go_enter), bpf_program__fd(programs.go_exit), uprobe_multi_}, path,
                            places, number));
  next_library_++;
  LibraryProbes go = LibraryProbes::adopt(std::move(links), number, true, "crypto/tls of " + places.version);
  TRY_STATUS(pin(&go));
  return go;
}

Status Probes::pin(LibraryProbes* library) {
  if (!pins_) return {};
  std::vector<LinkPin> pinned;
  for (const Fd& link : library->links()) {
    TRY(std::string name, pins_->keep_link("library", link.get()));
    pinned.emplace_back(*pins_, std::move(name));
  }
  library->keep(std::move(pinned));
  return {};
}

}  // namespace infertrail
