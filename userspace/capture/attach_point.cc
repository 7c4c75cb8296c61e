#include "capture/attach_point.h"

#include <algorithm>
#include <array>
#include <set>

namespace infertrail {
namespace {

using namespace std::string_view_literals;

// One row an instruction that may stand in such a function and harms nothing. `extra`: bytes of
// displacement or immediate that follow.
struct Known {
  std::string_view bytes;
  size_t extra;
};

constexpr auto kSubStack = "\x48\x83\xec"sv;   // sub $imm8,%rsp

// Before the entry point. None of them writes rdi, rsi or rdx.
constexpr std::array kPrologue = {
    Known{"\xf3\x0f\x1e\xfa"sv, 0},                       // endbr64
    Known{kSubStack, 1},
    Known{"\x64\x48\x8b\x04\x25\x28\x00\x00\x00"sv, 0},   // mov %fs:0x28,%rax
    Known{"\x48\x89\x44\x24"sv, 1},                       // mov %rax,disp8(%rsp)
    Known{"\x31\xc0"sv, 0},                               // xor %eax,%eax
    Known{"\x85\xd2"sv, 0},                               // test %edx,%edx
};

// Between the entry point and the inner call: its arguments.
constexpr std::array kArguments = {
    Known{"\x48\x89\xe1"sv, 0},       // mov %rsp,%rcx
    Known{"\x49\x89\xe0"sv, 0},       // mov %rsp,%r8
    Known{"\x48\x8d\x4c\x24"sv, 1},   // lea disp8(%rsp),%rcx
    Known{"\x4c\x8d\x44\x24"sv, 1},   // lea disp8(%rsp),%r8
    Known{"\x31\xc9"sv, 0},           // xor %ecx,%ecx
    Known{"\x48\x63\xd2"sv, 0},       // movslq %edx,%rdx
    Known{"\x89\xd2"sv, 0},           // mov %edx,%edx
};

// Between the inner call and the exit point: the result and the stack protector.
constexpr std::array kResult = {
    Known{"\x85\xc0"sv, 0},                               // test %eax,%eax
    Known{"\x8b\x04\x24"sv, 0},                           // mov (%rsp),%eax
    Known{"\x8b\x44\x24"sv, 1},                           // mov disp8(%rsp),%eax
    Known{"\x0f\x4f\x04\x24"sv, 0},                       // cmovg (%rsp),%eax
    Known{"\x0f\x4f\x44\x24"sv, 1},                       // cmovg disp8(%rsp),%eax
    Known{"\x48\x8b\x54\x24"sv, 1},                       // mov disp8(%rsp),%rdx
    Known{"\x64\x48\x2b\x14\x25\x28\x00\x00\x00"sv, 0},   // sub %fs:0x28,%rdx
};
constexpr auto kCheckProtector = "\x64\x48\x2b\x14\x25\x28\x00\x00\x00"sv;

constexpr char kJumpNegative = 0x78, kJumpLessEqual = 0x7e, kJumpNotEqual = 0x75;
constexpr char kFar = 0x0f, kFarNegative = static_cast<char>(0x88), kFarLessEqual = static_cast<char>(0x8e);

// Length of the instruction at `at` when it is one of `rows`, else 0.
template <size_t N>
size_t length_of(std::string_view code, size_t at, const std::array<Known, N>& rows) {
  for (const Known& row : rows) {
    const size_t length = row.bytes.size() + row.extra;
    if (code.substr(at).starts_with(row.bytes) && at + length <= code.size()) return length;
  }
  return 0;
}

template <size_t N>
size_t skip(std::string_view code, size_t at, const std::array<Known, N>& rows) {
  while (size_t length = length_of(code, at, rows)) at += length;
  return at;
}

bool is(std::string_view code, size_t at, char opcode) {
  return at + 2 <= code.size() && code[at] == opcode;
}

// The jump over the work when n is negative (or, for a writer of bytes, not positive). `frame`: what
// the instructions before it took from the stack.
std::optional<size_t> entry_of(std::string_view code, uint64_t* frame) {
  size_t at = 0;
  *frame = 0;
  while (size_t length = length_of(code, at, kPrologue)) {
    if (code.substr(at).starts_with(kSubStack)) {
      if (static_cast<signed char>(code[at + 3]) < 0) return std::nullopt;   // it gives back
      *frame += static_cast<uint8_t>(code[at + 3]);
    }
    at += length;
  }
  // Flags of `test %edx,%edx`: the jump is about n, and n is still there.
  if (at < 2 || code.substr(at - 2, 2) != "\x85\xd2"sv) return std::nullopt;
  if (is(code, at, kJumpNegative) || is(code, at, kJumpLessEqual)) return at;
  // The same with a far target (BIO_write of node).
  const bool far = at + 6 <= code.size() && code[at] == kFar && (code[at + 1] == kFarNegative || code[at + 1] == kFarLessEqual);
  return far ? std::optional(at) : std::nullopt;
}

// From behind the inner call to the stack protector's jump. Every way there must end there.
std::optional<size_t> exit_of(std::string_view code, size_t at) {
  std::set<size_t> starts, targets;
  bool checked = false;
  while (at < code.size()) {
    starts.insert(at);
    if (checked) break;
    if (is(code, at, kJumpLessEqual) && code[at + 1] > 0) {   // over `result = done`
      targets.insert(at + 2 + static_cast<size_t>(code[at + 1]));
      at += 2;
      continue;
    }
    const size_t length = length_of(code, at, kResult);
    if (length == 0) return std::nullopt;
    checked = code.substr(at).starts_with(kCheckProtector);
    at += length;
  }
  if (!checked || !is(code, at, kJumpNotEqual)) return std::nullopt;
  // A jump that lands behind the exit, or inside an instruction, is not this shape.
  const bool inside = std::all_of(targets.begin(), targets.end(),
                                  [&](size_t target) { return target < at && starts.contains(target); });
  return inside ? std::optional(at) : std::nullopt;
}

}  // namespace

std::optional<CallPoints> cheap_entry_point(std::string_view code) {
#ifdef __x86_64__
  uint64_t frame = 0;
  if (auto enter = entry_of(code, &frame)) return CallPoints{*enter, 0, frame};
#endif
  return std::nullopt;
}

std::optional<uint64_t> cheap_result_point(std::string_view code) {
#ifdef __x86_64__
  // test %eax,%eax and the jump that asks for it
  if (code.starts_with("\x85\xc0"sv) && code.size() >= 4) {
    if ((static_cast<uint8_t>(code[2]) & 0xf0) == 0x70) return 2;
    if (code[2] == '\x0f' && (static_cast<uint8_t>(code[3]) & 0xf0) == 0x80) return 2;
  }
  if (auto exit = exit_of(code, 0)) return *exit;
#endif
  return std::nullopt;
}

std::optional<CallPoints> cheap_call_points(std::string_view code) {
  auto enter = cheap_entry_point(code);
  if (!enter || code[enter->enter] != kJumpNegative) return std::nullopt;
  const size_t call = skip(code, enter->enter + 2, kArguments);
  if (call + 5 > code.size() || code[call] != '\xe8') return std::nullopt;
  auto exit = exit_of(code, call + 5);
  if (!exit) return std::nullopt;
  return CallPoints{enter->enter, *exit, enter->frame};
}

}  // namespace infertrail
