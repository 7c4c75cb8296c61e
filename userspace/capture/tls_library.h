// Which functions of a mapped file are TLS functions, and where: by its symbols (.dynsym, .symtab,
// .gnu_debugdata), without symbols by the `__func__` strings of OpenSSL 3, and its internal functions by what
// the public ones call, proven by the name that they carry. No table of versions; never executes anything of
// the file. What is not a 64-bit little-endian ELF file is an error.
//
// Any thread. Takes some 10 ms for a program of 10 MB, memory of a few MB whatever the file's size.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "capture/elf_image.h"
#include "capture/tls_stack.h"

namespace infertrail {

struct TlsSymbols {
  // Function name -> offset in the file. Besides public functions, where two independent ways agree:
  // "ssl_read_internal", "ssl_write_internal", "bio_write_intern", which serve SSL_read and SSL_write,
  // their _ex forms and BIO_f_ssl; BIO_write and BIO_write_ex.
  std::map<std::string, uint64_t> offsets;
  // ssl_write_internal(s, buf, num, flags, size_t *written) of OpenSSL 3.3 and later; else without flags.
  bool write_internal_has_flags = false;
  bool stripped = false;                   // found without symbols
  std::vector<std::string> notes;          // what was found and not used, or not found, and why: for `doctor`
  std::vector<TlsEvidence> stacks;         // what TLS is in the file, whether or not it can be probed
  bool has(const std::string& name) const { return offsets.contains(name); }
  // SSL_read and SSL_write, or their _ex forms: this file does TLS.
  bool is_tls() const { return has("SSL_write") || has("SSL_write_ex") || has("ssl_write_internal"); }
  bool is_bio() const { return has("BIO_write") || has("bio_write_intern"); }
};

// `fd` stays the caller's. Symbols that are only imported are not returned.
Result<TlsSymbols> read_tls_symbols(int fd);
Result<TlsSymbols> read_tls_symbols(const ByteSource& source);

}  // namespace infertrail
