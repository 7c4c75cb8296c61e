// CRC-32C (Castagnoli, RFC 3720 B.4): finds damage, not intent. Uses the SSE4.2 instruction where
// the processor has it, a table otherwise; both give the same value. Thread: none, pure functions.
#pragma once

#include <cstdint>
#include <string_view>

namespace infertrail {

// `crc` is the value of the bytes before, so that parts can be chained; 0 for none.
uint32_t crc32c(std::string_view bytes, uint32_t crc = 0);

// The table version by name, for the test that both agree.
uint32_t crc32c_portable(std::string_view bytes, uint32_t crc = 0);

}  // namespace infertrail
