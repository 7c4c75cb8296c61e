// Functions of a file without symbols, by the `__func__` strings that they refer to: OpenSSL 3 names the
// function in every error that it reports. Linear in the file's size, which has a limit; memory is not.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "capture/elf_image.h"
#include "capture/function_bounds.h"

namespace infertrail {

struct TextPlaces {
  std::map<std::string, std::set<uint64_t>> addresses;   // text -> where it stands
  bool whole = true;                                     // false: the file is larger than what is looked at
};

// Where texts stand in the read-only data of a file (.rodata; the segments where sections are stripped).
TextPlaces find_texts(const ElfImage& image, const std::vector<std::string>& texts);

struct NamedFunctions {
  // Name -> beginnings of the functions that refer to it. More than one: inlined, or another's text.
  std::map<std::string, std::set<uint64_t>> functions;
  std::vector<std::string> notes;
};

// `strings`: name -> addresses of the text. x86-64 only.
NamedFunctions functions_that_refer_to(const ElfImage& image, const FunctionBounds& bounds,
                                       const std::map<std::string, std::set<uint64_t>>& strings);

// Who calls (or jumps to) each of `targets`: target -> beginnings of functions.
std::map<uint64_t, std::set<uint64_t>> callers_of(const ElfImage& image, const FunctionBounds& bounds,
                                                  const std::set<uint64_t>& targets);

}  // namespace infertrail
