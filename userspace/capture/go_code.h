// Where in a Go function a call can be seen to begin and to end. A return probe of the kernel must not be
// used: it replaces the return address, and Go's runtime, which walks and moves stacks, then ends the
// program ("unexpected return pc"). So the end of a call is each of the function's RET instructions.
//
// Decoded by capstone: every byte of the function must decode and no jump may leave it, else the answer
// is "no": a RET that was not found would be bytes that are silently missing.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace infertrail {

constexpr size_t kGoFunctionBytes = 64u << 10;   // longest function that is looked at

// Offset of the conditional jump of the stack check that a Go function begins with ("is there room below
// g.stackguard0?"): arguments are still in their registers, and on x86 the kernel emulates it, where it
// would single-step the function's first instruction. The jump to more stack leads back to the function's
// beginning: the point is then passed twice, with the same arguments.
// Nothing when the function begins otherwise: then it does not follow Go's register ABI, or it is none.
std::optional<uint64_t> go_entry(uint16_t machine, std::string_view code);

// Offsets of all RET instructions of the function, `code` (whole).
Result<std::vector<uint64_t>> go_exits(uint16_t machine, std::string_view code);

// Whether a function of three words (a method with a receiver and a slice) copies them, in its first block, to
// the slots that its caller keeps for them above the return address, and never writes there again: then they
// can be read at its RETs, also of calls whose entry nobody saw. x86-64 only; elsewhere false.
bool go_keeps_arguments(uint16_t machine, std::string_view code);

}  // namespace infertrail
