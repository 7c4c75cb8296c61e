// The probes of one file with GnuTLS inside (bpf/gnutls.bpf.c): its public functions, by symbol, and the places
// where it calls its push function, which all ciphertext passes.
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
struct GnuTlsPrograms {
  int enter = -1, exit = -1;
  bool multi = false;
};

// How the socket of a session is found.
enum class GnuTlsBinding {
  kCiphertext,   // where that place is found, else as kDescriptor
  kDescriptor,   // by gnutls_transport_set_*, for tests
};

// Where the programs go; offsets in the file, with their cookies.
struct GnuTlsPlaces {
  std::vector<UprobePlace> enters;    // of the program at entry
  std::vector<UprobePlace> returns;   // of the program at exit, at the return of these functions
  std::string how;                    // for people
};

// kNotFound: no GnuTLS, or none with symbols. `library`: the number in the cookies (IT_COOKIE of event.h).
Result<GnuTlsPlaces> find_gnutls_places(const ByteSource& source, uint32_t library,
                                        GnuTlsBinding binding = GnuTlsBinding::kCiphertext);

struct GnuTlsLinks {
  std::vector<Fd> links;
  std::string how;
};
// Attaches to the open file; `path` must name the same inode. Errors: as above, and the kernel's.
Result<GnuTlsLinks> attach_gnutls(const GnuTlsPrograms& programs, const std::string& path, int fd, uint32_t library,
                                  GnuTlsBinding binding = GnuTlsBinding::kCiphertext);

}  // namespace infertrail
