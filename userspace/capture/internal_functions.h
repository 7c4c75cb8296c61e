// The internal functions of OpenSSL 3 behind SSL_read, SSL_write and BIO_write. They serve every public
// form, and most begin with an instruction that a probe does not pay for.
//
// Two independent ways must agree: the first function of the file that the public function calls, and the
// `__func__` string that the internal function refers to for its error messages. Where a compiler has put
// the internal function into the public one, there is nothing to find.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "capture/elf_image.h"
#include "capture/function_bounds.h"

namespace infertrail {

struct InternalFunctions {
  std::map<std::string, uint64_t> addresses;
  bool write_has_flags = false;
  std::vector<std::string> notes;
};

// `known`: addresses of public functions, and of internal ones where .symtab names them.
InternalFunctions find_internal_functions(const ElfImage& image, const FunctionBounds& bounds,
                                          const std::map<std::string, uint64_t>& known);

}  // namespace infertrail
