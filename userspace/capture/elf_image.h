// A 64-bit little-endian ELF file as the loader sees it: segments, sections, addresses. Format: System V
// ABI, chapters 4 and 5.
//
// The file belongs to the process that maps it and may be crafted, sparse, or changed while we look: it is
// read by pread (never mapped: a truncated mapping is a SIGBUS for the reader), every offset is checked,
// and every amount has a limit. Nothing is executed. Thread: any one thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace infertrail {

// Where the bytes of a file come from. `read`: how many bytes there were, fewer than asked for only at the
// end or when the system refuses; never more than `count`.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  virtual uint64_t size() const = 0;
  virtual size_t read(uint64_t offset, char* to, size_t count) const = 0;
};

class FileSource : public ByteSource {
 public:
  explicit FileSource(int fd);   // stays the caller's
  uint64_t size() const override { return size_; }
  size_t read(uint64_t offset, char* to, size_t count) const override;

 private:
  int fd_;
  uint64_t size_ = 0;
};

class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::string_view bytes) : bytes_(bytes) {}   // stays the caller's
  uint64_t size() const override { return bytes_.size(); }
  size_t read(uint64_t offset, char* to, size_t count) const override;

 private:
  std::string_view bytes_;
};

// Bytes [offset, offset + size) of the file at addresses from `address`. All of it is inside the file.
struct ElfSegment {
  uint64_t address = 0, offset = 0, size = 0;
  bool executable = false, writable = false;
};

struct ElfSection {
  std::string name;
  uint32_t type = 0, link = 0;
  uint64_t flags = 0, address = 0, offset = 0, size = 0, entry_size = 0;   // offset + size: inside the file
};

class ElfImage {
 public:
  // `source` must outlive the image. kInvalid: not an ELF file, or not of this kind.
  static Result<ElfImage> open(const ByteSource& source);

  uint16_t machine() const { return machine_; }   // EM_X86_64, …
  const ByteSource& source() const { return *source_; }
  const std::vector<ElfSegment>& segments() const { return segments_; }
  const std::vector<ElfSection>& sections() const { return sections_; }   // empty when stripped of them
  const ElfSection* section(std::string_view name) const;
  // Address of .eh_frame_hdr, 0 when there is none.
  uint64_t frame_header() const { return frame_header_; }

  std::optional<uint64_t> offset_of(uint64_t address) const;
  bool executable(uint64_t address) const;
  // At most `count` bytes of the file at an address; fewer at the end of a segment, "" outside.
  std::string read(uint64_t address, size_t count) const;
  // An integer of 1, 2, 4 or 8 bytes there.
  template <typename T>
  std::optional<T> get(uint64_t address) const {
    T value{};
    const ElfSegment* at = segment_at(address);
    if (!at || at->size - (address - at->address) < sizeof(T)) return std::nullopt;
    if (source_->read(address - at->address + at->offset, reinterpret_cast<char*>(&value), sizeof(T)) != sizeof(T))
      return std::nullopt;
    return value;
  }

 private:
  ElfImage() = default;
  const ElfSegment* segment_at(uint64_t address) const;
  void read_segments(uint64_t offset, size_t count);
  void read_sections(uint64_t offset, size_t count, size_t names);

  const ByteSource* source_ = nullptr;
  uint16_t machine_ = 0;
  std::vector<ElfSegment> segments_;
  std::vector<ElfSection> sections_;
  uint64_t frame_header_ = 0;
};

}  // namespace infertrail
