#include "capture/elf_symbols.h"

#include <elf.h>

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "capture/needles.h"

namespace infertrail {
namespace {

constexpr size_t kPiece = 1u << 20;             // bytes read at a time
constexpr uint64_t kMaxStrings = 512u << 20;    // of one string table; beyond: crafted
constexpr uint64_t kMaxSymbols = 512u << 20;    // bytes of one symbol table
constexpr size_t kMaxTables = 4;                // a file has one of each kind
constexpr size_t kMaxPlaces = 4096;             // where the wanted names stand in one string table

using Places = std::unordered_map<uint32_t, std::string_view>;   // offset in the string table -> name

// Linkers share tails: a name may be the end of a longer one. So every "name\0" counts, wherever it begins.
Places places_of(const ElfImage& image, const ElfSection& strings, std::span<const std::string_view> names,
                 const Needles& needles) {
  Places out;
  if (strings.size > kMaxStrings) return out;
  needles.scan(image.source(), strings.offset, strings.size, [&](size_t name, uint64_t at) {
    out.emplace(static_cast<uint32_t>(at - strings.offset), names[name]);
    return out.size() < kMaxPlaces;
  });
  return out;
}

void read_table(const ElfImage& image, const ElfImage& code, const ElfSection& table, const Places& places,
                std::multimap<std::string_view, uint64_t>* found) {
  if (table.entry_size != sizeof(Elf64_Sym) || table.size > kMaxSymbols || places.empty()) return;
  std::vector<Elf64_Sym> piece(kPiece / sizeof(Elf64_Sym));
  for (uint64_t from = 0; from < table.size;) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(piece.size() * sizeof(Elf64_Sym), table.size - from));
    const size_t n = image.source().read(table.offset + from, reinterpret_cast<char*>(piece.data()), want) / sizeof(Elf64_Sym);
    if (n == 0) return;
    for (size_t i = 0; i < n; i++) {
      const Elf64_Sym& symbol = piece[i];
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_shndx == SHN_UNDEF) continue;
      auto place = places.find(symbol.st_name);
      if (place == places.end() || !code.executable(symbol.st_value)) continue;
      auto [low, high] = found->equal_range(place->second);
      if (std::none_of(low, high, [&](const auto& each) { return each.second == symbol.st_value; }) &&
          std::distance(low, high) < 2)
        found->emplace(place->second, symbol.st_value);
    }
    from += n * sizeof(Elf64_Sym);
  }
}

}  // namespace

std::map<std::string, uint64_t> function_symbols(const ElfImage& image, std::span<const std::string_view> names) {
  return function_symbols(image, image, names);
}

std::map<std::string, uint64_t> function_symbols(const ElfImage& tables, const ElfImage& code,
                                                 std::span<const std::string_view> names) {
  std::vector<std::string> terminated;
  for (std::string_view name : names) terminated.push_back(std::string(name) + '\0');
  const Needles needles(std::move(terminated));
  std::multimap<std::string_view, uint64_t> found;
  size_t seen = 0;
  for (const ElfSection& section : tables.sections()) {
    if (section.type != SHT_DYNSYM && section.type != SHT_SYMTAB) continue;
    if (section.link >= tables.sections().size() || ++seen > kMaxTables) continue;
    read_table(tables, code, section, places_of(tables, tables.sections()[section.link], names, needles), &found);
  }
  std::map<std::string, uint64_t> out;
  for (auto& [name, address] : found)
    if (found.count(name) == 1) out.emplace(name, address);
  return out;
}

}  // namespace infertrail
