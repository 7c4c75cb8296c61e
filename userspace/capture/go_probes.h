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

// Where the programs go; offsets in the file, with their cookies but for the library (IT_GO_COOKIE).
struct GoPlaces {
  std::string version;   // the compiler's, for people
  bool keeps_arguments = false;   // a Read that was entered before its probes is captured all the same
  std::vector<UprobePlace> enters, exits;
};

// kNotFound: no Go program, or one without crypto/tls. kUnsupported: it has TLS that cannot be read, and why.
Result<GoPlaces> find_go_places(const ByteSource& source);

// `path` must name the file that the places are of. `library` counts the hits. Errors: the kernel's.
Result<std::vector<Fd>> attach_go(const GoPrograms& programs, const std::string& path, const GoPlaces& places,
                                  uint32_t library);

}  // namespace infertrail
