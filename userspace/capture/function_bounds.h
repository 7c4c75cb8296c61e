// Where functions begin and end, from the unwind tables that every x86-64 and arm64 program carries,
// stripped or not: .eh_frame_hdr's sorted table and .eh_frame's entries. Format: Linux Standard Base Core
// 5.0, chapter 10.6; DWARF 4, section 6.4.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "capture/elf_image.h"

namespace infertrail {

struct FunctionRange {
  uint64_t begin = 0, end = 0;   // addresses; `end` is behind the last byte
};

class FunctionBounds {
 public:
  // `image` must outlive it. Empty when the file has no unwind table, or one of an unknown form.
  explicit FunctionBounds(const ElfImage& image);

  bool empty() const { return count_ == 0 && ranges_.empty(); }
  // The function, or the part that a compiler has split off from one, that contains the address.
  std::optional<FunctionRange> at(uint64_t address) const;
  bool begins_at(uint64_t address) const;

 private:
  void use_table(uint64_t header);
  void read_section(const ElfSection& section);
  std::optional<FunctionRange> entry(uint64_t fde) const;
  template <typename T>
  std::optional<T> get(uint64_t address) const;   // of section_ while it is held, else of the file
  std::string text_at(uint64_t address, size_t count) const;

  const ElfImage& image_;
  uint64_t header_ = 0, table_ = 0, count_ = 0;   // .eh_frame_hdr: searched in the file, not loaded
  std::string section_;                            // .eh_frame while it is read
  uint64_t section_address_ = 0;
  std::vector<FunctionRange> ranges_;              // without it: .eh_frame, sorted
};

}  // namespace infertrail
