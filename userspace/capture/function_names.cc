#include "capture/function_names.h"

#include <elf.h>

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "capture/needles.h"
#include "capture/x86_code.h"

namespace infertrail {
namespace {

// The largest programs that exist have less of each; what is larger is looked at up to here, and said so.
constexpr uint64_t kMaxData = 256u << 20, kMaxCode = 512u << 20;
constexpr size_t kMaxLookups = 50'000;   // in the unwind table, for one search: real files need some hundred
constexpr size_t kMaxPlaces = 64;      // of one text
constexpr size_t kMaxReferences = 64;  // functions that refer to one name
constexpr size_t kPiece = 1u << 20;
constexpr size_t kOverlap = 16;        // longer than any instruction

struct Range {
  uint64_t address, size;
};

std::vector<Range> read_only_data(const ElfImage& image) {
  std::vector<Range> out;
  for (const ElfSection& each : image.sections())
    if (each.type == SHT_PROGBITS && (each.flags & SHF_ALLOC) && each.name.starts_with(".rodata"))
      out.push_back({each.address, each.size});
  if (!out.empty()) return out;
  for (const ElfSegment& each : image.segments())
    if (!each.writable) out.push_back({each.address, each.size});
  return out;
}

// Calls `visit` with pieces of the code; pieces overlap, so that no instruction is cut.
template <typename Visit>
bool each_piece_of_code(const ElfImage& image, const Visit& visit) {
  uint64_t left = kMaxCode;
  for (const ElfSegment& segment : image.segments()) {
    if (!segment.executable) continue;
    const uint64_t size = std::min(segment.size, left);
    for (uint64_t from = 0; from < size; from += kPiece)
      visit(image.read(segment.address + from, static_cast<size_t>(std::min<uint64_t>(kPiece + kOverlap, size - from))),
            segment.address + from);
    left -= size;
    if (size < segment.size) return false;
  }
  return true;
}

// A function's cold part stands apart, with an unwind entry of its own: the function jumps into it on a
// condition, and nobody calls it.
std::map<uint64_t, uint64_t> owners_of_cold_parts(const ElfImage& image, const FunctionBounds& bounds,
                                                  const std::vector<FunctionRange>& parts) {
  std::set<uint64_t> called;
  std::map<uint64_t, std::set<uint64_t>> jumpers;
  size_t lookups = 0;
  each_piece_of_code(image, [&](const std::string& code, uint64_t address) {
    visit_calls(code, address, true, [&](uint64_t target, size_t at) {
      auto part = std::upper_bound(parts.begin(), parts.end(), target,
                                   [](uint64_t value, const FunctionRange& each) { return value < each.begin; });
      if (part == parts.begin() || target >= std::prev(part)->end) return true;
      const FunctionRange& range = *std::prev(part);
      const uint64_t from = address + at;
      if (from >= range.begin && from < range.end) return true;
      if (code[at] == '\xe8' && target == range.begin) called.insert(range.begin);
      if (code[at] == '\x0f' && ++lookups <= kMaxLookups)
        if (auto jumper = bounds.at(from)) jumpers[range.begin].insert(jumper->begin);
      return true;
    });
  });
  std::map<uint64_t, uint64_t> out;
  for (auto& [part, from] : jumpers)
    if (!called.contains(part) && from.size() == 1) out.emplace(part, *from.begin());
  return out;
}

}  // namespace

TextPlaces find_texts(const ElfImage& image, const std::vector<std::string>& texts) {
  TextPlaces out;
  const Needles needles(texts);
  uint64_t left = kMaxData;
  for (const Range& range : read_only_data(image)) {
    auto offset = image.offset_of(range.address);
    if (!offset) continue;
    const uint64_t size = std::min(range.size, left);
    needles.scan(image.source(), *offset, size, [&](size_t needle, uint64_t at) {
      auto& places = out.addresses[texts[needle]];
      if (places.size() < kMaxPlaces) places.insert(range.address + (at - *offset));
      return true;
    });
    left -= size;
    out.whole &= size == range.size;
  }
  return out;
}

NamedFunctions functions_that_refer_to(const ElfImage& image, const FunctionBounds& bounds,
                                       const std::map<std::string, std::set<uint64_t>>& strings) {
  NamedFunctions out;
  if (image.machine() != EM_X86_64) {
    out.notes.push_back("functions without symbols are found in x86-64 programs only");
    return out;
  }
  std::unordered_map<uint64_t, const std::string*> wanted;
  uint64_t low = UINT64_MAX, high = 0;
  for (auto& [name, addresses] : strings)
    for (uint64_t each : addresses) {
      wanted.emplace(each, &name);
      low = std::min(low, each);
      high = std::max(high, each);
    }
  std::map<std::string, std::map<uint64_t, FunctionRange>> found;
  size_t lookups = 0;
  const bool whole = each_piece_of_code(image, [&](const std::string& code, uint64_t address) {
    visit_references(code, address, [&](uint64_t target, size_t at) {
      if (target < low || target > high) return true;
      auto name = wanted.find(target);
      if (name == wanted.end()) return true;
      if (++lookups > kMaxLookups) return false;
      auto range = bounds.at(address + at);
      auto& functions = found[*name->second];
      if (range && functions.size() < kMaxReferences) functions.emplace(range->begin, *range);
      return true;
    });
  });
  if (lookups > kMaxLookups) out.notes.push_back("its code refers to these names more often than any real program");
  if (!whole) out.notes.push_back("its code is larger than what is searched for functions");
  std::map<uint64_t, FunctionRange> parts;
  for (auto& [name, functions] : found) parts.insert(functions.begin(), functions.end());
  std::vector<FunctionRange> sorted;
  for (auto& [begin, range] : parts) sorted.push_back(range);
  const auto owners = owners_of_cold_parts(image, bounds, sorted);
  for (auto& [name, functions] : found)
    for (auto& [begin, range] : functions) {
      auto owner = owners.find(begin);
      out.functions[name].insert(owner == owners.end() ? begin : owner->second);
    }
  return out;
}

std::map<uint64_t, std::set<uint64_t>> callers_of(const ElfImage& image, const FunctionBounds& bounds,
                                                  const std::set<uint64_t>& targets) {
  std::map<uint64_t, std::set<uint64_t>> out;
  size_t lookups = 0;
  each_piece_of_code(image, [&](const std::string& code, uint64_t address) {
    visit_calls(code, address, true, [&](uint64_t target, size_t at) {
      if (!targets.contains(target)) return true;
      if (++lookups > kMaxLookups) return false;
      if (auto caller = bounds.at(address + at); caller && out[target].size() < kMaxReferences)
        out[target].insert(caller->begin);
      return true;
    });
  });
  return out;
}

}  // namespace infertrail
