// The probes of one TLS library: which functions of the file, at which instruction, with which cookie.
//
// Thread: any one at a time. Detached by the destructor, unless they are pinned and left (pins.h).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/owned.h"
#include "base/result.h"
#include "capture/pins.h"

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
  const std::vector<Fd>& links() const { return links_; }
  // They stay attached when this process is killed.
  void keep(std::vector<LinkPin> pins) { pins_ = std::move(pins); }
  size_t count() const { return links_.size(); }

 private:
  explicit LibraryProbes(std::vector<Fd> links) : links_(std::move(links)) {}
  std::vector<Fd> links_;
  std::vector<LinkPin> pins_;   // goes before the links
};

}  // namespace infertrail
