#include "capture/tls_library.h"

#include <gelf.h>
#include <libelf.h>

#include <array>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/owned.h"

namespace infertrail {
namespace {

constexpr std::array<std::string_view, 14> kWanted = {
    "SSL_read",  "SSL_read_ex",  "SSL_write",   "SSL_write_ex", "SSL_write_ex2",
    "SSL_free",  "SSL_clear",    "SSL_shutdown", "SSL_do_handshake", "SSL_accept",
    "SSL_connect", "SSL_peek",   "BIO_write",   "BIO_write_ex"};

bool wanted(std::string_view name) {
  for (std::string_view candidate : kWanted)
    if (candidate == name) return true;
  return false;
}

struct LoadSegment {
  uint64_t address, offset, size;
};

std::vector<LoadSegment> load_segments(Elf* elf) {
  std::vector<LoadSegment> out;
  size_t count = 0;
  if (elf_getphdrnum(elf, &count) != 0) return out;
  for (size_t i = 0; i < count; i++) {
    GElf_Phdr header;
    if (!gelf_getphdr(elf, static_cast<int>(i), &header) || header.p_type != PT_LOAD) continue;
    out.push_back({header.p_vaddr, header.p_offset, header.p_filesz});
  }
  return out;
}

void read_table(Elf* elf, Elf_Scn* section, const GElf_Shdr& header,
                const std::vector<LoadSegment>& segments, TlsSymbols* out) {
  Elf_Data* data = elf_getdata(section, nullptr);
  if (!data || header.sh_entsize == 0) return;
  size_t count = header.sh_size / header.sh_entsize;
  for (size_t i = 0; i < count; i++) {
    GElf_Sym symbol;
    if (!gelf_getsym(data, static_cast<int>(i), &symbol)) return;
    if (GELF_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF) continue;
    const char* name = elf_strptr(elf, header.sh_link, symbol.st_name);
    if (!name || !wanted(name)) continue;
    for (const LoadSegment& segment : segments)
      if (symbol.st_value >= segment.address && symbol.st_value - segment.address < segment.size)
        out->offsets[name] = symbol.st_value - segment.address + segment.offset;
  }
}

}  // namespace

Result<TlsSymbols> read_tls_symbols(int fd) {
  if (elf_version(EV_CURRENT) == EV_NONE)
    return Error{Code::kUnsupported, std::string("libelf: ") + elf_errmsg(-1)};
  Owned<Elf, elf_end> elf(elf_begin(fd, ELF_C_READ_MMAP, nullptr));
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF)
    return Error{Code::kInvalid, "not an ELF file"};
  auto segments = load_segments(elf.get());
  TlsSymbols symbols;
  Elf_Scn* section = nullptr;
  while ((section = elf_nextscn(elf.get(), section)) != nullptr) {
    GElf_Shdr header;
    if (!gelf_getshdr(section, &header)) continue;
    if (header.sh_type == SHT_DYNSYM || header.sh_type == SHT_SYMTAB)
      read_table(elf.get(), section, header, segments, &symbols);
  }
  return symbols;
}

}  // namespace infertrail
