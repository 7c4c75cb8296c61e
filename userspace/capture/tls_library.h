// Which functions of a mapped file are TLS functions, and where: read from its symbol tables by
// libelf. Never executes anything of the file. Hostile files: libelf checks bounds; what is not a
// well-formed ELF file is an error.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/result.h"

namespace infertrail {

struct TlsSymbols {
  std::map<std::string, uint64_t> offsets;   // function name -> offset in the file
  bool has(const std::string& name) const { return offsets.contains(name); }
  // SSL_read and SSL_write, or their _ex forms: this file does TLS.
  bool is_tls() const { return has("SSL_write") || has("SSL_write_ex"); }
  bool is_bio() const { return has("BIO_write"); }
};

// `fd` stays the caller's. Symbols that are only imported are not returned.
Result<TlsSymbols> read_tls_symbols(int fd);

}  // namespace infertrail
