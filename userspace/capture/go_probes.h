// The probes of one Go program's crypto/tls (bpf/go.bpf.c).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/owned.h"
#include "base/result.h"
#include "capture/elf_image.h"
#include "capture/uprobe_link.h"

namespace infertrail {

// Descriptors of the loaded programs, borrowed; see LibraryPrograms.
struct GoPrograms {
  int enter = -1, exit = -1;
  bool multi = false;
};

// Where the programs go; offsets in the file, with their cookies.
struct GoPlaces {
  std::string version;   // the compiler's, for people
  std::vector<UprobePlace> enters, exits;
};

// kNotFound: no Go program, or one without crypto/tls. kUnsupported: it has TLS that cannot be read, and why.
Result<GoPlaces> find_go_places(const ByteSource& source);

// Attaches to the open file; `path` must name the same inode. Errors: as above, and the kernel's.
Result<std::vector<Fd>> attach_go(const GoPrograms& programs, const std::string& path, int fd);

}  // namespace infertrail
