#include "capture/x86_code.h"

#include <array>
#include <cstring>

namespace infertrail {
namespace {

using namespace std::string_view_literals;

uint8_t byte(std::string_view code, size_t at) { return static_cast<uint8_t>(code[at]); }

uint64_t relative(std::string_view code, size_t at) {   // sign-extended, to be added
  int32_t value = 0;
  std::memcpy(&value, code.data() + at, sizeof(value));
  return static_cast<uint64_t>(static_cast<int64_t>(value));
}

// `lea disp(%rsp or %rbp),reg` or `mov %rsp,reg`: the address of a local variable.
struct LocalAddress {
  std::string_view bytes;
  size_t extra;
};
constexpr std::array kToRcx = {
    LocalAddress{"\x48\x89\xe1"sv, 0}, LocalAddress{"\x48\x8d\x4c\x24"sv, 1}, LocalAddress{"\x48\x8d\x4d"sv, 1},
    LocalAddress{"\x48\x8d\x8c\x24"sv, 4}, LocalAddress{"\x48\x8d\x8d"sv, 4}};
constexpr std::array kToR8 = {
    LocalAddress{"\x49\x89\xe0"sv, 0}, LocalAddress{"\x4c\x8d\x44\x24"sv, 1}, LocalAddress{"\x4c\x8d\x45"sv, 1},
    LocalAddress{"\x4c\x8d\x84\x24"sv, 4}, LocalAddress{"\x4c\x8d\x85"sv, 4}};
constexpr auto kClearRcx = "\x31\xc9"sv;   // xor %ecx,%ecx

bool any_of(std::string_view code, const std::array<LocalAddress, 5>& rows) {
  for (const LocalAddress& row : rows) {
    const size_t at = code.find(row.bytes);
    if (at != std::string_view::npos && at + row.bytes.size() + row.extra <= code.size()) return true;
  }
  return false;
}

}  // namespace

void visit_calls(std::string_view code, uint64_t address, bool jumps, const CodeVisitor& visit) {
  for (size_t at = 0; at + 5 <= code.size(); at++) {
    const uint8_t first = byte(code, at);
    size_t length = 0;
    if (first == 0xe8 || (jumps && first == 0xe9))
      length = 5;
    else if (jumps && first == 0x0f && (byte(code, at + 1) & 0xf0) == 0x80 && at + 6 <= code.size())
      length = 6;
    if (length == 0) continue;
    if (!visit(address + at + length + relative(code, at + length - 4), at)) return;
  }
}

void visit_references(std::string_view code, uint64_t address, const CodeVisitor& visit) {
  for (size_t at = 0; at + 5 <= code.size(); at++) {
    const uint8_t first = byte(code, at);
    if ((first & 0xf8) == 0xb8) {   // mov $imm32,r32: addresses below 2 GiB, as in programs that are not PIE
      uint32_t value = 0;
      std::memcpy(&value, code.data() + at + 1, sizeof(value));
      if (!visit(value, at)) return;
    } else if (first == 0x8d && at > 0 && (byte(code, at - 1) & 0xf8) == 0x48 && (byte(code, at + 1) & 0xc7) == 0x05 &&
               at + 6 <= code.size()) {
      if (!visit(address + at + 6 + relative(code, at + 2), at - 1)) return;
    }
  }
}

WriteShape write_shape(std::string_view code) {
  const bool rcx = any_of(code, kToRcx), r8 = any_of(code, kToR8);
  if (rcx && !r8) return WriteShape::kFour;
  if (r8 && !rcx && code.find(kClearRcx) != std::string_view::npos) return WriteShape::kFive;
  return WriteShape::kUnknown;
}

}  // namespace infertrail
