// Where the probes of a TLS library go, read from its code. Pure: attaches nothing.
//
// A probe on an instruction that the kernel emulates (push, call, jumps) costs a tenth of one on an
// instruction that it single-steps (0.7 against 9 µs in a VM). In this order, for reading and for writing:
// 1. The internal function that every public form and BIO_f_ssl call, at its first instruction, when that
//    is cheap; its return by a return probe, which costs what the first instruction does.
// 2. Every `call` of that function in the file (builds for CET begin functions with endbr64, which is
//    dear): a call is cheap and has all arguments in their registers. The return is the jump behind the
//    call, else the instruction behind it.
// 3. The public functions, inside (attach_point.h) or at their symbols, where the internal one is not
//    found: nothing then sees BIO_f_ssl.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "capture/elf_image.h"
#include "capture/tls_library.h"
#include "capture/uprobe_link.h"

namespace infertrail {

enum class Reach {
  kInternal,   // rules 1 and 2
  kCalls,      // rule 2 only, for tests
  kPublic,     // rule 3
  kSymbols,    // the public functions at their symbols: no code is judged
};

struct ProbePlan {
  std::vector<UprobePlace> enters;    // of the program at entry
  std::vector<UprobePlace> exits;     // of the program at exit, at instructions
  std::vector<UprobePlace> returns;   // of the program at exit, at the return of these functions
  std::string how;                    // for people: "read: internal, write: calls"
};

// `library`: the number in the cookies (IT_COOKIE of event.h).
ProbePlan plan_probes(const TlsSymbols& symbols, const ByteSource& file, uint32_t library, Reach reach);

// Whether the kernel emulates an instruction that begins with these bytes (x86: push, nop, call, jumps).
bool is_cheap_instruction(std::string_view code);

}  // namespace infertrail
