// .gnu_debugdata: a symbol table of a stripped file, as an xz-compressed ELF file inside it ("MiniDebugInfo",
// GDB manual, section 18.4). Fedora and its relatives ship it.
#pragma once

#include <string>

#include "base/result.h"
#include "capture/elf_image.h"

namespace infertrail {

// The inner ELF file. kNotFound: there is none; kCorrupt: it does not decompress; kExhausted: it is larger
// than any real one, or wants more memory.
Result<std::string> mini_debug_info(const ElfImage& image);

}  // namespace infertrail
