#include "capture/elf_image.h"

#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace infertrail {
namespace {

// Real files have at most some dozen of each; -ffunction-sections ends at the linker.
constexpr size_t kMaxSegments = 256, kMaxSections = 8192;
constexpr size_t kMaxSectionName = 64;
constexpr uint64_t kMaxNames = 1u << 20;   // bytes of section names

template <typename T>
bool get_at(const ByteSource& source, uint64_t offset, T* out) {
  return source.read(offset, reinterpret_cast<char*>(out), sizeof(T)) == sizeof(T);
}

bool inside(uint64_t offset, uint64_t size, uint64_t file) { return offset <= file && size <= file - offset; }

}  // namespace

FileSource::FileSource(int fd) : fd_(fd) {
  struct stat file {};
  if (fstat(fd, &file) == 0 && S_ISREG(file.st_mode)) size_ = static_cast<uint64_t>(file.st_size);
}

size_t FileSource::read(uint64_t offset, char* to, size_t count) const {
  if (offset >= size_) return 0;
  count = static_cast<size_t>(std::min<uint64_t>(count, size_ - offset));
  size_t done = 0;
  while (done < count) {
    const ssize_t n = pread(fd_, to + done, count - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;   // cut short meanwhile
    done += static_cast<size_t>(n);
  }
  return done;
}

size_t MemorySource::read(uint64_t offset, char* to, size_t count) const {
  if (offset >= bytes_.size()) return 0;
  count = std::min<size_t>(count, bytes_.size() - static_cast<size_t>(offset));
  std::memcpy(to, bytes_.data() + offset, count);
  return count;
}

Result<ElfImage> ElfImage::open(const ByteSource& source) {
  Elf64_Ehdr header{};
  if (!get_at(source, 0, &header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return Error{Code::kInvalid, "not an ELF file"};
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
    return Error{Code::kInvalid, "not a 64-bit little-endian ELF file"};
  ElfImage image;
  image.source_ = &source;
  image.machine_ = header.e_machine;
  if (header.e_phentsize == sizeof(Elf64_Phdr)) image.read_segments(header.e_phoff, header.e_phnum);
  if (header.e_shoff != 0 && header.e_shentsize == sizeof(Elf64_Shdr) && header.e_shnum <= kMaxSections)
    image.read_sections(header.e_shoff, header.e_shnum, header.e_shstrndx);
  return image;
}

void ElfImage::read_segments(uint64_t offset, size_t count) {
  for (size_t i = 0; i < std::min(count, kMaxSegments); i++) {
    Elf64_Phdr header{};
    if (!inside(offset, (i + 1) * sizeof(header), source_->size()) ||
        !get_at(*source_, offset + i * sizeof(header), &header))
      return;
    if (header.p_type == PT_GNU_EH_FRAME) frame_header_ = header.p_vaddr;
    if (header.p_type != PT_LOAD || header.p_filesz == 0) continue;
    // A segment that lies about its size, or runs over the end of the address space, is none.
    if (!inside(header.p_offset, header.p_filesz, source_->size())) continue;
    if (header.p_vaddr + header.p_filesz < header.p_vaddr) continue;
    segments_.push_back({header.p_vaddr, header.p_offset, header.p_filesz, (header.p_flags & PF_X) != 0,
                         (header.p_flags & PF_W) != 0});
  }
}

void ElfImage::read_sections(uint64_t offset, size_t count, size_t names) {
  std::vector<Elf64_Shdr> headers(count);
  if (count == 0 || !inside(offset, count * sizeof(Elf64_Shdr), source_->size()) ||
      source_->read(offset, reinterpret_cast<char*>(headers.data()), count * sizeof(Elf64_Shdr)) !=
          count * sizeof(Elf64_Shdr))
    return;
  std::string text;
  if (names < count && inside(headers[names].sh_offset, headers[names].sh_size, source_->size()) &&
      headers[names].sh_size <= kMaxNames) {
    text.resize(headers[names].sh_size);
    text.resize(source_->read(headers[names].sh_offset, text.data(), text.size()));
  }
  for (const Elf64_Shdr& header : headers) {
    ElfSection section;
    if (header.sh_name < text.size())
      section.name = text.substr(header.sh_name,
                                 std::min(kMaxSectionName, std::strlen(text.c_str() + header.sh_name)));
    const bool bytes = header.sh_type != SHT_NOBITS && inside(header.sh_offset, header.sh_size, source_->size());
    section.type = header.sh_type;
    section.link = header.sh_link;
    section.flags = header.sh_flags;
    section.address = header.sh_addr;
    section.offset = bytes ? header.sh_offset : 0;
    section.size = bytes ? header.sh_size : 0;
    section.entry_size = header.sh_entsize;
    sections_.push_back(std::move(section));   // also the bad ones: sh_link counts them
  }
}

const ElfSection* ElfImage::section(std::string_view name) const {
  for (const ElfSection& each : sections_)
    if (each.name == name) return &each;
  return nullptr;
}

const ElfSegment* ElfImage::segment_at(uint64_t address) const {
  for (const ElfSegment& each : segments_)
    if (address >= each.address && address - each.address < each.size) return &each;
  return nullptr;
}

std::optional<uint64_t> ElfImage::offset_of(uint64_t address) const {
  const ElfSegment* at = segment_at(address);
  return at ? std::optional(address - at->address + at->offset) : std::nullopt;
}

bool ElfImage::executable(uint64_t address) const {
  const ElfSegment* at = segment_at(address);
  return at && at->executable;
}

std::string ElfImage::read(uint64_t address, size_t count) const {
  const ElfSegment* at = segment_at(address);
  if (!at) return "";
  const uint64_t from = address - at->address;
  std::string out(static_cast<size_t>(std::min<uint64_t>(count, at->size - from)), 0);
  out.resize(source_->read(from + at->offset, out.data(), out.size()));
  return out;
}

}  // namespace infertrail
