// OpenSSL 3 inside a file that has no symbols: its functions by the `__func__` strings of their error
// messages. Each must have two witnesses: its own name, and a second fact that a program which merely mentions
// the name (to look it up at run time) does not share: the source file's name in the same function, or what it
// calls. What has no string, or is ambiguous, is left out and said so in a note.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "capture/elf_image.h"
#include "capture/function_bounds.h"
#include "capture/function_names.h"

namespace infertrail {

// The texts to look for, by find_texts().
const std::vector<std::string>& openssl_texts();

struct StrippedFunctions {
  std::map<std::string, uint64_t> addresses;   // public functions and SSL_new; not the internal ones
  std::vector<std::string> notes;
  bool openssl = false;   // its strings are there, whether or not functions were found
};

StrippedFunctions find_stripped_openssl(const ElfImage& image, const FunctionBounds& bounds, const TextPlaces& texts);

}  // namespace infertrail
