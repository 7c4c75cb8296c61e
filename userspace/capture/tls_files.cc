#include "capture/tls_files.h"

#include <algorithm>

namespace infertrail {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

}  // namespace

TlsFiles::Version TlsFiles::version(const struct stat& file) {
  return {file.st_dev, file.st_ino, file.st_size, file.st_mtim.tv_sec * kSecond + file.st_mtim.tv_nsec,
          file.st_ctim.tv_sec * kSecond + file.st_ctim.tv_nsec};
}

TlsFiles::Entry* TlsFiles::known(const struct stat& file) {
  auto at = files_.find(version(file));
  if (at == files_.end()) return nullptr;
  at->second.used = ++uses_;
  return &at->second;
}

// Where the answer about this version is kept; null when the file was written to while it was read: what was
// read is of neither version.
TlsFiles::Entry* TlsFiles::keep(int fd, const struct stat& file) {
  struct stat after {};
  if (fstat(fd, &after) != 0 || version(after) != version(file)) return nullptr;
  if (Entry* entry = known(file)) return entry;
  make_room();
  Entry& entry = files_[version(file)];
  entry.used = ++uses_;
  return &entry;
}

std::shared_ptr<const Result<TlsSymbols>> TlsFiles::read(int fd, const struct stat& file) {
  if (Entry* entry = known(file); entry && entry->symbols) return entry->symbols;
  auto symbols = std::make_shared<const Result<TlsSymbols>>(read_tls_symbols(fd));
  parsed_++;
  if (Entry* entry = keep(fd, file)) entry->symbols = symbols;
  return symbols;
}

std::shared_ptr<const Result<GoPlaces>> TlsFiles::go(int fd, const struct stat& file) {
  if (Entry* entry = known(file); entry && entry->go) return entry->go;
  auto places = std::make_shared<const Result<GoPlaces>>(find_go_places(FileSource(fd)));
  if (Entry* entry = keep(fd, file)) entry->go = places;
  return places;
}

void TlsFiles::make_room() {
  if (files_.size() < kMaxFiles) return;
  files_.erase(std::min_element(files_.begin(), files_.end(),
                                [](const auto& a, const auto& b) { return a.second.used < b.second.used; }));
}

std::string unreadable_tls(const TlsSymbols& symbols) {
  std::string out;
  for (const TlsEvidence& each : symbols.stacks)
    out += (out.empty() ? "" : "; ") + std::string(stack_name(each.stack)) + " (" + each.evidence + ")";
  for (const std::string& each : symbols.notes) out += (out.empty() ? "" : "; ") + each;
  return out;
}

std::string missed_functions(const TlsSymbols& symbols) {
  std::string out;
  if (!symbols.stripped) return out;   // with symbols, what is not used costs time and loses nothing
  for (const std::string& each : symbols.notes) out += (out.empty() ? "" : "; ") + each;
  return out;
}

}  // namespace infertrail
