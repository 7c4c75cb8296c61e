#include "capture/tls_library.h"

#include <array>
#include <string_view>

#include "capture/elf_symbols.h"
#include "capture/function_bounds.h"
#include "capture/internal_functions.h"

namespace infertrail {
namespace {

constexpr std::array<std::string_view, 14> kPublic = {
    "SSL_read",  "SSL_read_ex",  "SSL_write", "SSL_write_ex", "SSL_write_ex2", "SSL_new",
    "SSL_free",  "SSL_clear",    "SSL_shutdown", "SSL_do_handshake", "BIO_write", "BIO_write_ex",
    "SSL_up_ref", "SSL_sendfile"};
// Local symbols of files that are not stripped: a third witness.
constexpr std::array<std::string_view, 3> kInternal = {"ssl_read_internal", "ssl_write_internal", "bio_write_intern"};

}  // namespace

Result<TlsSymbols> read_tls_symbols(const ByteSource& source) {
  TRY(ElfImage image, ElfImage::open(source));
  std::array<std::string_view, kPublic.size() + kInternal.size()> names;
  std::copy(kInternal.begin(), kInternal.end(), std::copy(kPublic.begin(), kPublic.end(), names.begin()));
  const auto known = function_symbols(image, names);
  TlsSymbols symbols;
  for (std::string_view name : kPublic)
    if (auto at = known.find(std::string(name)); at != known.end())
      if (auto offset = image.offset_of(at->second)) symbols.offsets.emplace(name, *offset);
  if (!symbols.is_tls() && !symbols.is_bio()) return symbols;
  const FunctionBounds bounds(image);
  InternalFunctions internal = find_internal_functions(image, bounds, known);
  for (auto& [name, address] : internal.addresses)
    if (auto offset = image.offset_of(address)) symbols.offsets.emplace(name, *offset);
  symbols.write_internal_has_flags = internal.write_has_flags;
  symbols.notes = std::move(internal.notes);
  return symbols;
}

Result<TlsSymbols> read_tls_symbols(int fd) {
  const FileSource source(fd);
  return read_tls_symbols(source);
}

}  // namespace infertrail
