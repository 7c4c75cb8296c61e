// What x86-64 machine code of a function refers to: the addresses that it calls, and those of data that it
// takes. No disassembler: single instructions are recognised by their bytes, at any byte, and what they
// point to has to be proven by the caller (a function's first byte, a known string). A pattern that occurs
// by chance inside another instruction points nowhere in particular.
// Encodings: Intel SDM, volume 2.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace infertrail {

// `code` stands at `address`. Called with (target, offset of the instruction); false stops.
using CodeVisitor = std::function<bool(uint64_t target, size_t at)>;

// call rel32; with `jumps` also jmp rel32 and jcc rel32, which leave a function at its end or for its
// cold part.
void visit_calls(std::string_view code, uint64_t address, bool jumps, const CodeVisitor& visit);
// lea disp32(%rip),reg · mov $imm32,reg.
void visit_references(std::string_view code, uint64_t address, const CodeVisitor& visit);

// How the code in front of a call passes the address of a local `size_t`, and a 0 before it.
enum class WriteShape {
  kUnknown,
  kFour,   // rcx = &written:              f(s, buf, num, &written)
  kFive,   // rcx = 0 (flags), r8 = &written: f(s, buf, num, flags, &written), OpenSSL 3.3 and later
};
// `code`: from the beginning of the function that calls to the call.
WriteShape write_shape(std::string_view code);

}  // namespace infertrail
