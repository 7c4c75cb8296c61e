// Where inside a function a probe is cheap. On x86 the kernel emulates jumps; most other instructions
// it single-steps, which costs ten times as much (9 µs against 0.7 in a VM), and a return probe always
// sits on the function's first instruction, dear or not. So both ends of a call are probed at a
// conditional jump instead, where a function has the shape that compilers give to
//   int f(SSL *, void *, int n) { size_t done; if (n < 0) …; r = g(…, &done); if (r > 0) r = done; return r; }
// with a stack protector, as distributions build it.
//
// Decodes known instructions only; anything else means "no": the caller then attaches to the symbol.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace infertrail {

struct CallPoints {
  uint64_t enter = 0;   // offset in the function: the first three arguments are still in their registers
  uint64_t exit = 0;    // the result is in the result register; passed by every call with n >= 0
  uint64_t frame = 0;   // bytes that the function took from the stack before both points
};

// `code` begins at the function. Both points, or nothing.
std::optional<CallPoints> cheap_call_points(std::string_view code);
// `code` begins behind a call whose result is wanted: the offset of a jump that every way passes before the
// result register or the stack pointer changes; the result is then what the call said, or, where it is
// positive, what the function makes of it.
std::optional<uint64_t> cheap_result_point(std::string_view code);
// Only `enter`: for functions whose return nobody watches. `exit` is 0.
std::optional<CallPoints> cheap_entry_point(std::string_view code);

constexpr size_t kCallPointBytes = 96;   // of code that are worth looking at

}  // namespace infertrail
