#include "capture/push_calls.h"

#include <capstone/capstone.h>
#include <elf.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "capture/function_bounds.h"

namespace infertrail {
namespace {

constexpr uint64_t kMaxCode = 64u << 20;       // bytes that are searched for uses of a member
constexpr size_t kPiece = 1u << 20;
constexpr size_t kMaxFunction = 64u << 10;
constexpr size_t kMaxFunctions = 64, kMaxCalls = 16;   // GnuTLS has two functions and three calls
constexpr size_t kSetter = 64;                  // bytes of a function that stores a pointer

// Decodes as long as there are instructions; a visitor that says false ends it. False: bytes were left that are
// none.
template <typename Visit>
bool decode(const std::string& code, uint64_t address, const Visit& visit) {
  csh handle = 0;
  if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle) != CS_ERR_OK) return false;
  cs_option(handle, CS_OPT_DETAIL, CS_OPT_ON);
  cs_insn* instruction = cs_malloc(handle);
  const auto* at = reinterpret_cast<const uint8_t*>(code.data());
  size_t left = code.size();
  bool going = true;
  while (instruction && going && left > 0 && cs_disasm_iter(handle, &at, &left, &address, instruction))
    going = visit(*instruction);
  if (instruction) cs_free(instruction, 1);
  cs_close(&handle);
  return !going || left == 0;
}

bool is_member(const cs_x86_op& operand) {
  return operand.type == X86_OP_MEM && operand.mem.index == X86_REG_INVALID && operand.mem.segment == X86_REG_INVALID &&
         operand.mem.base != X86_REG_INVALID && operand.mem.base != X86_REG_RIP && operand.mem.base != X86_REG_RSP;
}

// Where in its first argument a function stores the second; nothing else may be stored from a register.
std::optional<int32_t> stored_at(const ElfImage& image, uint64_t function) {
  std::optional<int32_t> out;
  bool returned = false, other = false;
  decode(image.read(function, kSetter), function, [&](const cs_insn& each) {
    const cs_x86& x86 = each.detail->x86;
    if (each.id == X86_INS_RET) returned = true;
    if (each.id == X86_INS_MOV && x86.op_count == 2 && is_member(x86.operands[0]) && x86.operands[1].type == X86_OP_REG) {
      other |= out.has_value() || x86.operands[0].mem.base != X86_REG_RDI || x86.operands[1].reg != X86_REG_RSI;
      out = static_cast<int32_t>(x86.operands[0].mem.disp);
    }
    return !returned;
  });
  return returned && !other ? out : std::nullopt;
}

// Functions that contain these four bytes.
std::map<uint64_t, uint64_t> functions_with(const ElfImage& image, const FunctionBounds& bounds,
                                            const std::vector<std::string>& wanted) {
  std::map<uint64_t, uint64_t> out;
  for (const ElfSegment& segment : image.segments()) {
    if (!segment.executable) continue;
    const uint64_t size = std::min(segment.size, kMaxCode);
    for (uint64_t from = 0; from < size; from += kPiece) {
      const std::string code = image.read(segment.address + from, std::min<uint64_t>(kPiece + 3, size - from));
      for (const std::string& each : wanted)
        for (size_t at = code.find(each); at != std::string::npos; at = code.find(each, at + 1))
          if (auto range = bounds.at(segment.address + from + at); range && out.size() < kMaxFunctions)
            out.emplace(range->begin, range->end);
    }
  }
  return out;
}

void calls_in(const ElfImage& image, uint64_t begin, uint64_t end, const std::map<int64_t, bool>& members,
              std::vector<PushCall>* out) {
  std::map<unsigned, bool> loaded;   // register -> member, from the load to the next write of the register
  decode(image.read(begin, std::min<uint64_t>(end - begin, kMaxFunction)), begin, [&](const cs_insn& each) {
    const cs_x86& x86 = each.detail->x86;
    const cs_x86_op& first = x86.operands[0];
    const auto found = [&](bool vector) {
      if (auto offset = image.offset_of(each.address); offset && out->size() < kMaxCalls) out->push_back({*offset, vector});
    };
    if (each.id == X86_INS_CALL && x86.op_count == 1) {
      if (is_member(first) && members.contains(first.mem.disp)) found(members.at(first.mem.disp));
      if (first.type == X86_OP_REG && loaded.contains(first.reg)) found(loaded.at(first.reg));
      for (unsigned gone : {X86_REG_RAX, X86_REG_RCX, X86_REG_RDX, X86_REG_R8, X86_REG_R9, X86_REG_R10, X86_REG_R11})
        loaded.erase(gone);
      return true;
    }
    for (size_t i = 0; i < x86.op_count; i++)
      if (x86.operands[i].type == X86_OP_REG && (x86.operands[i].access & CS_AC_WRITE)) loaded.erase(x86.operands[i].reg);
    if (each.id == X86_INS_MOV && x86.op_count == 2 && first.type == X86_OP_REG && is_member(x86.operands[1]) &&
        members.contains(x86.operands[1].mem.disp))
      loaded[first.reg] = members.at(x86.operands[1].mem.disp);
    return true;
  });
}

}  // namespace

std::vector<PushCall> push_calls(const ElfImage& image, uint64_t set_push, uint64_t set_vector_push) {
  if (image.machine() != EM_X86_64) return {};
  auto push = stored_at(image, set_push), vector = stored_at(image, set_vector_push);
  // Small displacements occur everywhere; a session is larger.
  if (!push || !vector || *push == *vector || *push < 0x80 || *vector < 0x80) return {};
  std::vector<std::string> wanted;
  for (int32_t each : {*push, *vector}) wanted.emplace_back(reinterpret_cast<const char*>(&each), sizeof(each));
  const std::map<int64_t, bool> members = {{*push, false}, {*vector, true}};
  const FunctionBounds bounds(image);
  std::vector<PushCall> out;
  for (auto& [begin, end] : functions_with(image, bounds, wanted)) calls_in(image, begin, end, members, &out);
  return out;
}

bool is_only_a_jump(const ElfImage& image, uint64_t function) {
  if (image.machine() != EM_X86_64) return false;
  bool jumps = false;
  decode(image.read(function, kSetter), function, [&](const cs_insn& each) {
    jumps = each.id == X86_INS_JMP;
    return !jumps && (each.id == X86_INS_XOR || each.id == X86_INS_ENDBR64);
  });
  return jumps;
}

}  // namespace infertrail
