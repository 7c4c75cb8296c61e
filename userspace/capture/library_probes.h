// The probes of one TLS library: which functions of the file, at which instruction, with which cookie.
//
// Thread: any one at a time. Detached by the destructor, unless the links are pinned elsewhere.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/owned.h"
#include "base/result.h"

namespace infertrail {

// Descriptors of the loaded programs, borrowed.
struct LibraryPrograms {
  int enter = -1;       // at the entry of every function
  int exit = -1;        // where a call returns
  bool multi = false;   // both were loaded for uprobe_multi (uprobe_link.h)
};

// The uprobes of one file (one inode), for all processes that map it now or later.
class LibraryProbes {
 public:
  // Attaches to the TLS functions of the open file; `path` must name the same inode (a
  // /proc/PID/map_files entry). kNotFound when the file has none.
  static Result<LibraryProbes> attach(const LibraryPrograms& programs, const std::string& path, int fd);
  // Probes that an earlier process attached: their link descriptors.
  static LibraryProbes adopt(std::vector<Fd> links) { return LibraryProbes(std::move(links)); }

  void add(std::vector<Fd> links) {
    for (Fd& link : links) links_.push_back(std::move(link));
  }
  const std::vector<Fd>& links() const { return links_; }
  size_t count() const { return links_.size(); }

 private:
  explicit LibraryProbes(std::vector<Fd> links) : links_(std::move(links)) {}
  std::vector<Fd> links_;
};

}  // namespace infertrail
