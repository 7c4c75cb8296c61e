#include "capture/tls_library.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "capture/elf_symbols.h"
#include "capture/function_bounds.h"
#include "capture/internal_functions.h"
#include "capture/mini_debug_info.h"
#include "capture/stripped_openssl.h"

namespace infertrail {
namespace {

constexpr std::array<std::string_view, 14> kPublic = {
    "SSL_read",  "SSL_read_ex",  "SSL_write", "SSL_write_ex", "SSL_write_ex2", "SSL_new",
    "SSL_free",  "SSL_clear",    "SSL_shutdown", "SSL_do_handshake", "BIO_write", "BIO_write_ex",
    "SSL_up_ref", "SSL_sendfile"};
// Local symbols of files that are not stripped: a third witness.
constexpr std::array<std::string_view, 3> kInternal = {"ssl_read_internal", "ssl_write_internal", "bio_write_intern"};

template <size_t N>
bool is_one_of(const std::array<std::string_view, N>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

using Addresses = std::map<std::string, uint64_t>;

bool has_tls(const Addresses& known) { return known.contains("SSL_write") || known.contains("SSL_write_ex"); }

// The file's own tables, and the one that a stripped file may carry compressed.
Addresses symbols_of(const ElfImage& image, std::vector<std::string>* notes) {
  std::vector<std::string_view> names(kPublic.begin(), kPublic.end());
  names.insert(names.end(), kInternal.begin(), kInternal.end());
  const auto more = stack_symbols();
  for (std::string_view each : more)
    if (std::find(names.begin(), names.end(), each) == names.end()) names.push_back(each);
  Addresses known = function_symbols(image, names);
  if (has_tls(known)) return known;
  auto packed = mini_debug_info(image);
  if (!packed.ok()) {
    if (packed.error().code != Code::kNotFound) notes->push_back(packed.error().message);
    return known;
  }
  const MemorySource source(packed.value());
  auto tables = ElfImage::open(source);
  if (!tables.ok())
    notes->push_back(".gnu_debugdata holds no ELF file");
  else
    known.merge(function_symbols(tables.value(), image, names));
  return known;
}

}  // namespace

Result<TlsSymbols> read_tls_symbols(const ByteSource& source) {
  TRY(ElfImage image, ElfImage::open(source));
  TlsSymbols out;
  Addresses known = symbols_of(image, &out.notes);
  std::vector<std::string> texts = stack_texts();
  for (const std::string& each : openssl_texts())
    if (std::find(texts.begin(), texts.end(), each) == texts.end()) texts.push_back(each);
  const TextPlaces places = find_texts(image, texts);
  out.stacks = classify(image, known, places);
  const FunctionBounds bounds(image);
  if (!has_tls(known)) {
    StrippedFunctions found = find_stripped_openssl(image, bounds, places);
    out.stripped = !found.addresses.empty();
    known.merge(found.addresses);
    out.notes.insert(out.notes.end(), found.notes.begin(), found.notes.end());
  }
  InternalFunctions internal = find_internal_functions(image, bounds, known);
  out.write_internal_has_flags = internal.write_has_flags;
  out.notes.insert(out.notes.end(), internal.notes.begin(), internal.notes.end());
  if (out.stripped && !internal.addresses.contains("ssl_write_internal"))
    out.notes.push_back("SSL_read_ex and SSL_write_ex have no name of their own and are not found: what a program "
                        "reads and writes by them is not seen");
  for (std::string_view name : kInternal) known.erase(std::string(name));   // a symbol alone proves nothing: node
  known.merge(internal.addresses);
  for (auto& [name, address] : known)
    if (is_one_of(kPublic, name) || is_one_of(kInternal, name))
      if (auto offset = image.offset_of(address)) out.offsets.emplace(name, *offset);
  return out;
}

Result<TlsSymbols> read_tls_symbols(int fd) {
  const FileSource source(fd);
  return read_tls_symbols(source);
}

}  // namespace infertrail
