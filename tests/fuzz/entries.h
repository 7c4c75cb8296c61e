// The fuzz entries. Each takes any bytes, must return 0, and aborts when a promise is broken.
// With INFERTRAIL_LIBFUZZER each file is a libFuzzer program of its own.
#pragma once

#include <cstddef>
#include <cstdint>

namespace infertrail {

// A script for one connection: one control byte (bit 0 direction, bits 1-2 what: data, gap,
// declared missing, jump back), one length byte, then the data.
int fuzz_http1(const uint8_t* data, size_t size);
// A kind byte, then request body and answer body, split at the first NUL.
int fuzz_dialect(const uint8_t* data, size_t size);

}  // namespace infertrail
