// The fuzz entries: linked into libFuzzer by tests/fuzz, called by the mutation loops of the unit
// tests. Each aborts when its promise is broken.
#pragma once

#include <cstddef>
#include <cstdint>

namespace infertrail::fuzz {

void json(const uint8_t* data, size_t size);
void yaml(const uint8_t* data, size_t size);
void mask(const uint8_t* data, size_t size);

}  // namespace infertrail::fuzz

// Each entry is also LLVMFuzzerTestOneInput when it is built on its own.
#ifdef INFERTRAIL_LIBFUZZER
#define IT_FUZZ_ENTRY(name)                                                 \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { \
    infertrail::fuzz::name(data, size);                                     \
    return 0;                                                               \
  }
#else
#define IT_FUZZ_ENTRY(name)
#endif
