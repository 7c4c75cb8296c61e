// Targets: the files that the chosen processes map, and the probes of each.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstring>

#include "capture/targets.h"

namespace infertrail {
namespace {

// Probes stay this long after the last user of a file ended: the next short-lived client finds them.
constexpr uint64_t kLingerSeconds = 60;
constexpr uint64_t kSecondNs = 1'000'000'000;

bool same_functions(const Result<TlsSymbols>& a, const Result<TlsSymbols>& b) {
  if (!a.ok() || !b.ok()) return a.ok() == b.ok();
  return a.value().offsets == b.value().offsets &&
         a.value().write_internal_has_flags == b.value().write_internal_has_flags;
}

bool same_places(const Result<GoPlaces>& a, const Result<GoPlaces>& b) {
  if (!a.ok() || !b.ok()) return a.ok() == b.ok();
  const auto same = [](const UprobePlace& x, const UprobePlace& y) { return x.offset == y.offset && x.cookie == y.cookie; };
  return std::ranges::equal(a.value().enters, b.value().enters, same) &&
         std::ranges::equal(a.value().exits, b.value().exits, same);
}

}  // namespace

// Any executable mapping may hold TLS functions, whatever the file's name: static programs, wheels, add-ons.
void Targets::probe(Library* library, const std::string& path, int fd, const InodeKey& key) {
  library->probes.reset();
  library->problem = library->program_problem;
  library->unreadable.clear();
  if (!library->symbols->ok()) return;   // no ELF file of ours: a 32-bit program, a mapped script
  const TlsSymbols& symbols = library->symbols->value();
  if (symbols.offsets.empty() && symbols.stacks.empty()) return;
  auto probes = probes_.attach_library(path, fd, symbols);
  if (probes.ok()) {
    spdlog::info("library={} links={} probes=\"{}\"", library->path, probes.value().count(), probes.value().how());
    library->probes = std::move(probes.value());
    probes_.remember_library(key.first, key.second, library->path);
    library->problem = missed_functions(symbols);
  } else if (probes.error().code != Code::kNotFound && probes.error().code != Code::kInvalid) {
    library->problem = probes.error().message;
  }
  if (!library->probed()) library->unreadable = unreadable_tls(symbols);
  if (!library->problem.empty()) spdlog::warn("library={} error=\"{}\"", library->path, library->problem);
  if (!library->unreadable.empty()) spdlog::info("library={} not_probed=\"{}\"", library->path, library->unreadable);
}

// A Go program may have OpenSSL inside as well (cgo): both are probed.
void Targets::probe_program(Library* library, const std::string& path, const InodeKey& key) {
  library->program.reset();
  library->program_problem.clear();
  const auto failed = [&](const Error& error) {
    if (error.code == Code::kNotFound || error.code == Code::kInvalid) return;
    library->program_problem = "Go's crypto/tls: " + error.message;
    spdlog::warn("library={} error=\"{}\"", library->path, library->program_problem);
  };
  if (!library->places->ok()) return failed(library->places->error());
  auto probes = probes_.attach_program(path, library->places->value());
  if (!probes.ok()) return failed(probes.error());
  spdlog::info("library={} links={} probes=\"{}\"", library->path, probes.value().count(), probes.value().how());
  library->program = std::move(probes.value());
  probes_.remember_library(key.first, key.second, library->path);
}

// New here, or written to in place: then the probes of what it was stand anywhere now.
void Targets::look_at(Library* library, const std::string& name, const std::string& path, int fd, const struct stat& file) {
  const InodeKey key{file.st_dev, file.st_ino};
  library->size = static_cast<uint64_t>(file.st_size);
  library->changed_ns = static_cast<uint64_t>(file.st_mtim.tv_sec) * kSecondNs + static_cast<uint64_t>(file.st_mtim.tv_nsec);
  const auto places = files_.go(fd, file);
  const bool other = !library->places || (places != library->places && !same_places(*places, *library->places));
  library->places = places;
  if (other) library->path = name;
  // Go first: it is found in a tenth of the time of all the rest, and its programs use TLS early.
  if (other) probe_program(library, path, key);
  const auto symbols = files_.read(fd, file);
  if (!other && library->symbols && (symbols == library->symbols || same_functions(*symbols, *library->symbols))) return;
  library->path = name;
  library->symbols = symbols;
  probe(library, path, fd, key);
}

// Executables that a selector names are probed before anybody runs them, also as a new version.
void Targets::prepare_executables() {
  for (const Selector& selector : selectors_) {
    const std::string path = selector.exact_exe();
    struct stat file {};
    // Looked at before it is opened: it may be no regular file.
    if (path.empty() || stat(path.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) continue;
    Fd fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (!fd.valid() || fstat(fd.get(), &file) != 0 || !S_ISREG(file.st_mode)) continue;
    Library& library = libraries_[{file.st_dev, file.st_ino}];
    if (library.users.empty()) library.unused_since = steady_seconds();
    look_at(&library, path, "/proc/self/fd/" + std::to_string(fd.get()), fd.get(), file);
  }
}

// First nobody runs it without waiting for it any more; then, when all that had happened was read, it goes.
void Targets::release_libraries(bool drained) {
  const uint64_t now = steady_seconds();
  for (auto at = libraries_.begin(); at != libraries_.end();) {
    Library& library = at->second;
    const bool over = library.users.empty() && now - library.unused_since > kLingerSeconds;
    if (over && !library.keys.empty()) {
      for (const abi::file_key& key : library.keys) holds_.forget(key);
      library.keys.clear();
      library.releasing = true;
    } else if (over && (drained || !library.releasing)) {
      probes_.forget_library(at->first.first, at->first.second);
      at = libraries_.erase(at);
      continue;
    }
    ++at;
  }
}

void Targets::scan_libraries(uint32_t tgid) {
  auto mappings = read_mappings(tgid, proc_);
  if (!mappings.ok()) return;   // it ended; on_exit cleans up
  for (const Mapping& mapping : mappings.value())
    if (mapping.executable && mapping.inode != 0) use_mapping(tgid, mapping);
}

// The file is opened through map_files: right for deleted files and other mount namespaces. The
// key comes from the open file, because on overlayfs /proc/PID/maps shows another device.
void Targets::use_mapping(uint32_t tgid, const Mapping& mapping) {
  char path[128];
  std::snprintf(path, sizeof(path), "%s/%u/map_files/%" PRIx64 "-%" PRIx64, proc_.c_str(), tgid,
                mapping.begin, mapping.end);
  Fd fd(open(path, O_RDONLY | O_CLOEXEC));
  struct stat file {};
  if (!fd.valid() && (errno == EPERM || errno == EACCES)) {
    const std::string problem = "its mapped files cannot be opened (map_files needs CAP_SYS_ADMIN or "
                                "CAP_CHECKPOINT_RESTORE): TLS is not seen";
    auto target = targets_.find(tgid);
    if (target != targets_.end() && target->second.problems.empty()) {
      spdlog::warn("target={} error=\"{}\"", tgid, problem);
      target->second.problems.push_back(problem);
    }
  }
  if (!fd.valid() || fstat(fd.get(), &file) != 0) return;
  Library& library = libraries_[{file.st_dev, file.st_ino}];
  library.users.insert(tgid);
  library.unused_since = 0;
  library.releasing = false;
  look_at(&library, mapping.path, path, fd.get(), file);
}

// An attach that yields nothing is an error, not a success.
void Targets::check_libraries() {
  for (auto& [key, library] : libraries_) {
    uint64_t blind = 0;
    for (uint32_t tgid : library.users)
      if (blind_ && targets_.contains(tgid)) blind += blind_(tgid);
    std::string silent;
    for (const auto* probes : {&library.probes, &library.program})
      if (*probes && (*probes)->moves_plaintext() && silent.empty())
        silent = probe_problem(probes_.hits((*probes)->library()), blind);
    if (!silent.empty() && library.silent != silent) spdlog::warn("library={} error=\"{}\"", library.path, silent);
    library.silent = std::move(silent);
  }
}

bool Targets::probes_file(uint64_t device, uint64_t inode) const {
  std::lock_guard lock(mutex_);
  auto at = libraries_.find({device, inode});
  return at != libraries_.end() && at->second.probed();
}

}  // namespace infertrail
