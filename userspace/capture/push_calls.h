// Where GnuTLS calls the function that sends its ciphertext: gnutls_transport_set_push_function and
// …_set_vec_push_function store a pointer in the session; the calls of that member are the places. No table of
// versions: the member's place in the session is read from the two functions themselves. x86-64 only.
#pragma once

#include <cstdint>
#include <vector>

#include "capture/elf_image.h"

namespace infertrail {

struct PushCall {
  uint64_t offset = 0;   // of the call instruction, in the file; its arguments are in their registers
  bool vector = false;   // f(transport, const giovec_t *, int), else f(transport, const void *, size_t)
};

// `set_push`, `set_vector_push`: addresses of the two functions. Empty when they or the calls are not of the known
// form. Takes some 10 ms and 1 MB.
std::vector<PushCall> push_calls(const ElfImage& image, uint64_t set_push, uint64_t set_vector_push);

// Whether the function does nothing but clear registers and jump to another.
bool is_only_a_jump(const ElfImage& image, uint64_t function);

}  // namespace infertrail
