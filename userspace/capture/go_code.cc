#include "capture/go_code.h"

#include <capstone/capstone.h>
#include <elf.h>

#include <array>
#include <cstring>
#include <string>

#include "base/owned.h"

namespace infertrail {
namespace {

using namespace std::string_view_literals;

// --- x86-64: g is in r14, g.stackguard0 at +16 -------------------------------------------------------

struct Check {
  std::string_view load;   // address that the frame will reach, into r12; "" for small frames
  size_t extra;            // bytes of displacement behind it
  std::string_view compare;
};
constexpr std::array kChecks = {
    Check{""sv, 0, "\x49\x3b\x66\x10"sv},                   // cmp 16(%r14),%rsp
    Check{"\x4c\x8d\x64\x24"sv, 1, "\x4d\x3b\x66\x10"sv},   // lea disp8(%rsp),%r12; cmp 16(%r14),%r12
    Check{"\x4c\x8d\xa4\x24"sv, 4, "\x4d\x3b\x66\x10"sv},   // lea disp32(%rsp),%r12; cmp 16(%r14),%r12
};

std::optional<uint64_t> x86_entry(std::string_view code) {
  for (const Check& check : kChecks) {
    if (!code.starts_with(check.load)) continue;
    const size_t at = check.load.size() + check.extra;
    if (at > code.size() || !code.substr(at).starts_with(check.compare)) continue;
    const std::string_view jump = code.substr(at + check.compare.size());
    if (jump.starts_with("\x76"sv) || jump.starts_with("\x0f\x86"sv)) return at + check.compare.size();   // jbe
  }
  return std::nullopt;
}

// --- arm64: g is in x28 ------------------------------------------------------------------------------

constexpr uint32_t kLoadGuard = 0xf9400b90;      // ldr x16,[x28,#16]
constexpr uint32_t kCompareStack = 0xeb3063ff;   // cmp sp,x16
constexpr uint32_t kCompareX17 = 0xeb10023f;     // cmp x17,x16
constexpr uint32_t kRet = 0xd65f03c0;

uint32_t word(std::string_view code, size_t index) {
  uint32_t out = 0;
  if ((index + 1) * 4 <= code.size()) std::memcpy(&out, code.data() + index * 4, 4);
  return out;
}

bool jumps_lower_same(uint32_t instruction) { return (instruction & 0xff00001f) == 0x54000009; }   // b.ls
bool subtracts(uint32_t instruction) { return (instruction & 0xff8003ff) == 0xd10003f1; }          // sub x17,sp,#n

std::optional<uint64_t> arm_entry(std::string_view code) {
  if (word(code, 0) != kLoadGuard) return std::nullopt;
  if (word(code, 1) == kCompareStack && jumps_lower_same(word(code, 2))) return 8;
  if (subtracts(word(code, 1)) && word(code, 2) == kCompareX17 && jumps_lower_same(word(code, 3))) return 12;
  return std::nullopt;
}

bool returns(uint32_t instruction) { return instruction == kRet; }
// Target of `b` and `b.cond`, relative to the instruction; calls (`bl`) come back.
std::optional<int64_t> arm_jump(uint32_t instruction) {
  if ((instruction & 0xfc000000) == 0x14000000)
    return static_cast<int64_t>(static_cast<int32_t>(instruction << 6) >> 6) * 4;
  if ((instruction & 0xff000010) == 0x54000000)
    return static_cast<int64_t>(static_cast<int32_t>(instruction << 8) >> 13) * 4;
  return std::nullopt;
}

Error leaves(uint64_t at) {
  return Error{Code::kUnsupported, "it is left by a jump at +" + std::to_string(at)};
}

Result<std::vector<uint64_t>> arm_exits(std::string_view code) {
  std::vector<uint64_t> out;
  for (size_t index = 0; index < code.size() / 4; index++) {
    const uint32_t instruction = word(code, index);
    if (returns(instruction)) out.push_back(index * 4);
    if (auto jump = arm_jump(instruction)) {
      const uint64_t target = index * 4 + static_cast<uint64_t>(*jump);   // wraps when below 0
      if (target >= code.size()) return leaves(index * 4);
    }
  }
  return out;
}

// --- x86-64, decoded ----------------------------------------------------------------------------------

// Destination of a direct jump, relative to the function; nothing for other instructions.
std::optional<uint64_t> x86_jump(csh handle, const cs_insn& instruction) {
  const cs_x86& detail = instruction.detail->x86;
  if (!cs_insn_group(handle, &instruction, CS_GRP_JUMP) || detail.op_count != 1 ||
      detail.operands[0].type != X86_OP_IMM)
    return std::nullopt;
  return static_cast<uint64_t>(detail.operands[0].imm);
}

bool returns(const cs_insn& instruction) {
  return instruction.id == X86_INS_RET || instruction.id == X86_INS_RETF || instruction.id == X86_INS_RETFQ;
}

void release(cs_insn* instruction) { cs_free(instruction, 1); }

struct Decoder {
  csh handle = 0;
  ~Decoder() {
    if (handle) cs_close(&handle);
  }
};

Result<std::vector<uint64_t>> x86_exits(std::string_view code) {
  Decoder decoder;
  if (cs_err error = cs_open(CS_ARCH_X86, CS_MODE_64, &decoder.handle); error != CS_ERR_OK)
    return Error{Code::kUnsupported, std::string("disassembler: ") + cs_strerror(error)};
  cs_option(decoder.handle, CS_OPT_DETAIL, CS_OPT_ON);
  Owned<cs_insn, release> instruction(cs_malloc(decoder.handle));
  if (!instruction) return Error{Code::kExhausted, "disassembler: out of memory"};
  std::vector<uint64_t> out;
  const auto* from = reinterpret_cast<const uint8_t*>(code.data());
  size_t left = code.size();
  uint64_t at = 0;
  while (left > 0) {
    if (!cs_disasm_iter(decoder.handle, &from, &left, &at, instruction.get()))
      return Error{Code::kUnsupported, "an instruction at +" + std::to_string(at) + " is not known"};
    if (returns(*instruction)) out.push_back(instruction->address);
    if (auto target = x86_jump(decoder.handle, *instruction); target && *target >= code.size())
      return leaves(instruction->address);
  }
  return out;
}

// --- where arguments are kept ---------------------------------------------------------------------------

constexpr std::array kArguments = {X86_REG_RAX, X86_REG_RBX, X86_REG_RCX};

// Follows a function's first block, from its entry, and says when all arguments are where they belong.
class Spills {
 public:
  explicit Spills(csh handle) : handle_(handle) {}

  // false: it is not as it should be, or over.
  bool step(const cs_insn& at) {
    const cs_x86& x86 = at.detail->x86;
    const auto* to = x86.op_count > 0 ? &x86.operands[0] : nullptr;
    const auto* from = x86.op_count > 1 ? &x86.operands[1] : nullptr;
    if (at.id == X86_INS_JBE && frame_ == 0) return true;   // of the stack check
    if (at.id == X86_INS_CALL || cs_insn_group(handle_, &at, CS_GRP_JUMP) || cs_insn_group(handle_, &at, CS_GRP_RET))
      return false;
    if (at.id == X86_INS_PUSH) return grow(8);
    if (at.id == X86_INS_SUB && to->type == X86_OP_REG && to->reg == X86_REG_RSP)
      return from->type == X86_OP_IMM && grow(from->imm);
    if (at.id == X86_INS_MOV && to->type == X86_OP_MEM && to->mem.base == X86_REG_RSP &&
        to->mem.index == X86_REG_INVALID && from->type == X86_OP_REG)
      for (size_t i = 0; i < kArguments.size(); i++)
        if (from->reg == kArguments[i] && to->mem.disp == slot(i) && to->size == 8) kept_[i] = true;
    for (size_t i = 0; i < kArguments.size(); i++)
      if (!kept_[i] && writes(at, kArguments[i])) return false;
    return true;
  }
  bool all() const { return kept_[0] && kept_[1] && kept_[2]; }
  // From the stack pointer of the function's body: behind its frame and the return address.
  int64_t slot(size_t argument) const { return frame_ + 8 + 8 * static_cast<int64_t>(argument); }
  bool is_slot(int64_t displacement) const { return displacement > slot(0) - 16 && displacement < slot(kArguments.size()); }

 private:
  bool grow(int64_t bytes) {
    frame_ += bytes;
    return bytes > 0;
  }
  bool writes(const cs_insn& at, x86_reg argument) const {
    cs_regs read, written;
    uint8_t reads = 0, writes = 0;
    if (cs_regs_access(handle_, &at, read, &reads, written, &writes) != CS_ERR_OK) return true;
    for (uint8_t i = 0; i < writes; i++)
      for (uint16_t part : parts(argument))
        if (written[i] == part) return true;
    return false;
  }
  static std::array<uint16_t, 5> parts(x86_reg argument) {
    if (argument == X86_REG_RAX) return {X86_REG_RAX, X86_REG_EAX, X86_REG_AX, X86_REG_AL, X86_REG_AH};
    if (argument == X86_REG_RBX) return {X86_REG_RBX, X86_REG_EBX, X86_REG_BX, X86_REG_BL, X86_REG_BH};
    return {X86_REG_RCX, X86_REG_ECX, X86_REG_CX, X86_REG_CL, X86_REG_CH};
  }

  csh handle_;
  int64_t frame_ = 0;
  std::array<bool, kArguments.size()> kept_{};
};

// Whether it writes to such a slot, or takes its address.
bool touches(const cs_insn& at, const Spills& spills) {
  const cs_x86& x86 = at.detail->x86;
  for (uint8_t i = 0; i < x86.op_count; i++) {
    const cs_x86_op& operand = x86.operands[i];
    if (operand.type != X86_OP_MEM || operand.mem.base != X86_REG_RSP) continue;
    if (operand.mem.index != X86_REG_INVALID) return true;
    const bool changes = at.id == X86_INS_LEA || operand.access & CS_AC_WRITE;
    if (changes && spills.is_slot(operand.mem.disp)) return true;
  }
  return false;
}

bool x86_keeps_arguments(std::string_view code) {
  Decoder decoder;
  if (cs_open(CS_ARCH_X86, CS_MODE_64, &decoder.handle) != CS_ERR_OK) return false;
  cs_option(decoder.handle, CS_OPT_DETAIL, CS_OPT_ON);
  Owned<cs_insn, release> at(cs_malloc(decoder.handle));
  if (!at) return false;
  Spills spills(decoder.handle);
  const auto* from = reinterpret_cast<const uint8_t*>(code.data());
  size_t left = code.size();
  uint64_t address = 0;
  const auto next = [&] { return left > 0 && cs_disasm_iter(decoder.handle, &from, &left, &address, at.get()); };
  while (!spills.all())
    if (!next() || !spills.step(*at)) return false;
  while (next())
    if (touches(*at, spills)) return false;
  return left == 0;
}

}  // namespace

bool go_keeps_arguments(uint16_t machine, std::string_view code) {
  return machine == EM_X86_64 && code.size() <= kGoFunctionBytes && x86_keeps_arguments(code);
}

std::optional<uint64_t> go_entry(uint16_t machine, std::string_view code) {
  if (machine == EM_X86_64) return x86_entry(code);
  if (machine == EM_AARCH64) return arm_entry(code);
  return std::nullopt;
}

Result<std::vector<uint64_t>> go_exits(uint16_t machine, std::string_view code) {
  if (code.empty() || code.size() > kGoFunctionBytes)
    return Error{Code::kUnsupported, "it has " + std::to_string(code.size()) + " bytes"};
  auto out = machine == EM_X86_64    ? x86_exits(code)
             : machine == EM_AARCH64 ? arm_exits(code)
                                     : Result<std::vector<uint64_t>>(Error{Code::kUnsupported, "unknown machine"});
  if (out.ok() && out.value().empty()) return Error{Code::kUnsupported, "it has no RET"};
  return out;
}

}  // namespace infertrail
