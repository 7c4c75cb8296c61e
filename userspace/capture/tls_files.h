// What TLS there is in the files that targets map: each version of a file is read once, also when it comes
// and goes with short-lived processes. Files are told apart by what their owner cannot forge without writing
// to them: device, inode, size, and the times of the last write and change. Not by build-id: a crafted file
// may bear that of another, and would be probed at the other's offsets.
//
// Thread: one at a time. Memory: a few hundred bytes a file, at most kMaxFiles of them.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include "base/result.h"
#include "capture/go_probes.h"
#include "capture/tls_library.h"

namespace infertrail {

class TlsFiles {
 public:
  static constexpr size_t kMaxFiles = 4096;

  // Of the open file, `file` being its fstat(). Never null. An error is remembered as well.
  std::shared_ptr<const Result<TlsSymbols>> read(int fd, const struct stat& file);
  // Where the probes of a Go program go; quicker than read(), and remembered as that is.
  std::shared_ptr<const Result<GoPlaces>> go(int fd, const struct stat& file);
  size_t size() const { return files_.size(); }
  uint64_t parsed() const { return parsed_; }   // files that were really read, since the start

 private:
  using Version = std::tuple<uint64_t, uint64_t, int64_t, int64_t, int64_t>;
  struct Entry {
    std::shared_ptr<const Result<TlsSymbols>> symbols;   // null: not read yet
    std::shared_ptr<const Result<GoPlaces>> go;
    uint64_t used = 0;   // a count, not a time
  };
  static Version version(const struct stat& file);
  Entry* known(const struct stat& file);
  Entry* keep(int fd, const struct stat& file);
  void make_room();

  std::map<Version, Entry> files_;
  uint64_t uses_ = 0, parsed_ = 0;
};

// For people; "" when there is nothing to say. What a file holds that nobody probes: it matters when a process
// sends TLS that is not seen.
std::string unreadable_tls(const TlsSymbols& symbols);
// What is missed although the file is probed.
std::string missed_functions(const TlsSymbols& symbols);

}  // namespace infertrail
