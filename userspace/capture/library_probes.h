// The probes of one TLS library: which functions of the file, at which instruction, with which cookie.
//
// Thread: any one at a time. Detached by the destructor, unless they are pinned and left (pins.h).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/owned.h"
#include "base/result.h"
#include "infertrail/event.h"
#include "capture/pins.h"
#include "capture/tls_library.h"

namespace infertrail {

// Descriptors of the loaded programs, borrowed.
struct LibraryPrograms {
  int enter = -1;       // at the entry of every function
  int exit = -1;        // where a call returns
  bool multi = false;   // both were loaded for uprobe_multi (uprobe_link.h)
};

// How often the probes of a library acted for a target, by IT_CALL_*.
struct LibraryHits {
  std::array<uint64_t, IT_CALLS> enters{}, exits{};
};

// What the hits of a library say against its probes, "" when nothing: an attach that the kernel took can
// still be at the wrong place. `blind`: connections of its users whose TLS was seen on the wire and
// whose plaintext was not.
std::string probe_problem(const LibraryHits& hits, uint64_t blind);

// The uprobes of one file (one inode), for all processes that map it now or later.
class LibraryProbes {
 public:
  // Attaches to the TLS functions of the open file, which are `symbols`; `path` must name the same inode (a
  // /proc/PID/map_files entry). kNotFound when the file has none.
  // `library` counts its hits (IT_COOKIE of event.h).
  static Result<LibraryProbes> attach(const LibraryPrograms& programs, const std::string& path, int fd,
                                      const TlsSymbols& symbols, uint32_t library = 0);
  // Probes that an earlier process, or another stack's attach, made: their link descriptors.
  static LibraryProbes adopt(std::vector<Fd> links, uint32_t library = 0, bool moves_plaintext = false,
                             std::string how = "adopted") {
    return LibraryProbes(std::move(links), library, moves_plaintext, std::move(how));
  }

  void add(std::vector<Fd> links) {
    for (Fd& link : links) links_.push_back(std::move(link));
  }

  const std::vector<Fd>& links() const { return links_; }
  // They stay attached when this process is killed.
  void keep(std::vector<LinkPin> pins) { pins_ = std::move(pins); }
  size_t count() const { return links_.size(); }
  uint32_t library() const { return library_; }
  // SSL_read and SSL_write are among them, not BIO_write alone.
  bool moves_plaintext() const { return moves_plaintext_; }
  const std::string& how() const { return how_; }   // where the probes are, for people

 private:
  LibraryProbes(std::vector<Fd> links, uint32_t library, bool moves_plaintext, std::string how)
      : links_(std::move(links)), library_(library), moves_plaintext_(moves_plaintext), how_(std::move(how)) {}
  std::vector<Fd> links_;
  uint32_t library_;
  bool moves_plaintext_;
  std::string how_;
  std::vector<LinkPin> pins_;   // goes before the links
};

}  // namespace infertrail
