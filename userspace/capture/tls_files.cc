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

std::shared_ptr<const Result<TlsSymbols>> TlsFiles::read(int fd, const struct stat& file) {
  auto known = files_.find(version(file));
  if (known != files_.end()) {
    known->second.used = ++uses_;
    return known->second.symbols;
  }
  auto symbols = std::make_shared<const Result<TlsSymbols>>(read_tls_symbols(fd));
  parsed_++;
  struct stat after {};
  // Written to while it was read: what was read is of neither version.
  if (fstat(fd, &after) != 0 || version(after) != version(file)) return symbols;
  make_room();
  files_[version(file)] = {symbols, ++uses_};
  return symbols;
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
