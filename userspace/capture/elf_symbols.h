// Addresses of functions that an ELF file defines, by name, from .dynsym and .symtab. Reads the string
// tables piece by piece: memory does not grow with the file.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "capture/elf_image.h"

namespace infertrail {

// name -> address, for those of `names` that the file defines; imports are not definitions. A name that
// stands for several addresses is left out: which one is meant is not known.
std::map<std::string, uint64_t> function_symbols(const ElfImage& image, std::span<const std::string_view> names);
// The same where the tables stand in another file than the code (separate debug information).
std::map<std::string, uint64_t> function_symbols(const ElfImage& tables, const ElfImage& code,
                                                 std::span<const std::string_view> names);

}  // namespace infertrail
