// Where functions of a Go program are: read from its line table (.gopclntab), which the Go runtime needs
// itself, so that stripping leaves it. Also the compiler's version, from .go.buildinfo, for people.
// Formats: runtime/symtab.go (pcHeader, functab, _func) of Go 1.16, 1.18 and 1.20; debug/buildinfo.
//
// The file belongs to the process that maps it and may be crafted: every offset is checked, every amount
// has a limit. Nothing of it is executed. Thread: any one thread at a time.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "capture/elf_image.h"

namespace infertrail {

// Addresses are the file's own (ELF virtual addresses).
struct GoFunction {
  uint64_t address = 0;
  uint64_t size = 0;   // up to the next function: with padding
};

struct GoBinary {
  std::string version;                            // "go1.19.8"; "" when the file does not say
  std::map<std::string, GoFunction> functions;    // those of `wanted` that it has
};

// kNotFound: no Go program, or none of the functions is in it. kUnsupported: it has them, but is built by
// a Go that passes arguments on the stack (before 1.17; on arm64 before 1.18), or its table is not
// understood: the message says which.
Result<GoBinary> read_go_binary(const ElfImage& image, const std::vector<std::string_view>& wanted);

}  // namespace infertrail
