#include "capture/go_binary.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "capture/go_code.h"

namespace infertrail {
namespace {

using namespace std::string_view_literals;

constexpr uint64_t kMaxTable = 512u << 20;       // kubelet's is 30 MB
constexpr uint64_t kMaxRelocations = 256u << 20;
constexpr size_t kMaxVersion = 256;
constexpr uint32_t kMagic116 = 0xfffffffa, kMagic118 = 0xfffffff0, kMagic120 = 0xfffffff1;

template <typename T>
std::optional<T> get(std::string_view bytes, uint64_t at) {
  T out{};
  if (at > bytes.size() || bytes.size() - at < sizeof(T)) return std::nullopt;
  std::memcpy(&out, bytes.data() + at, sizeof(T));
  return out;
}

// --- the version, for people --------------------------------------------------------------------------

std::string string_at(const ElfImage& image, uint64_t header) {
  auto data = image.get<uint64_t>(header), length = image.get<uint64_t>(header + 8);
  return data && length && *length <= kMaxVersion ? image.read(*data, *length) : "";
}

std::string version_of(const ElfImage& image) {
  const ElfSection* section = image.section(".go.buildinfo");
  if (!section) return "";
  const std::string info = image.read(section->address, 33 + kMaxVersion);
  if (!info.starts_with("\xff Go buildinf:"sv) || info.size() < 33) return "";
  if ((info[15] & 2) == 0) {   // before 1.18: a pointer to the string
    auto pointer = get<uint64_t>(info, 16);
    return pointer ? string_at(image, *pointer) : "";
  }
  size_t length = 0, at = 32;   // inline, behind a varint
  for (int shift = 0; at < info.size() && shift < 28; shift += 7) {
    const auto byte = static_cast<uint8_t>(info[at++]);
    length |= static_cast<size_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return length <= kMaxVersion ? info.substr(at, length) : "";
  }
  return "";
}

// --- the line table ------------------------------------------------------------------------------------

struct LineTable {
  std::string bytes;
  uint64_t address = 0;      // of its first byte
  bool relative = false;     // from 1.18: entries are 32 bits, relative to the text's start
  uint64_t functions = 0, names = 0, names_end = 0, entries = 0;   // count; offsets in bytes
  uint64_t text = 0;
  static constexpr uint64_t kTextField = 24;

  size_t width() const { return relative ? 4 : 8; }
  std::optional<uint64_t> field(uint64_t at) const {
    if (!relative) return get<uint64_t>(bytes, at);
    auto value = get<uint32_t>(bytes, at);
    return value ? std::optional<uint64_t>(*value) : std::nullopt;
  }
};

bool is_header(std::string_view bytes) {
  auto magic = get<uint32_t>(bytes, 0);
  return bytes.size() >= 8 && (magic == kMagic116 || magic == kMagic118 || magic == kMagic120) && bytes[4] == 0 &&
         bytes[5] == 0 && (bytes[6] == 1 || bytes[6] == 4) && bytes[7] == 8;
}

Result<LineTable> parse(std::string bytes, uint64_t address) {
  LineTable table;
  table.bytes = std::move(bytes);
  table.address = address;
  if (!is_header(table.bytes))
    return Error{Code::kUnsupported, "its Go line table is of an unknown version (known: Go 1.16 to 1.2x)"};
  table.relative = get<uint32_t>(table.bytes, 0) != kMagic116;
  const uint64_t offsets = table.relative ? 32 : 24;   // names, units, files, pc values, functions
  auto functions = get<uint64_t>(table.bytes, 8);
  auto names = get<uint64_t>(table.bytes, offsets), units = get<uint64_t>(table.bytes, offsets + 8);
  auto entries = get<uint64_t>(table.bytes, offsets + 32);
  if (table.relative) table.text = get<uint64_t>(table.bytes, LineTable::kTextField).value_or(0);
  const uint64_t size = table.bytes.size();
  if (!functions || !names || !units || !entries || *names > size || *units < *names || *units > size ||
      *entries > size || *functions > (size - *entries) / (2 * table.width()))
    return Error{Code::kUnsupported, "its Go line table is damaged"};
  table.functions = *functions;
  table.names = *names;
  table.names_end = *units;
  table.entries = *entries;
  return table;
}

// Where the table is: a section that stripping leaves; else, in a file without section headers, the header
// in one of its segments.
std::optional<Result<LineTable>> find_table(const ElfImage& image) {
  for (const char* name : {".gopclntab", ".data.rel.ro.gopclntab"})
    if (const ElfSection* section = image.section(name); section && section->size > 0) {
      if (section->size > kMaxTable) return Error{Code::kUnsupported, "its Go line table is too large"};
      return parse(image.read(section->address, section->size), section->address);
    }
  if (!image.sections().empty()) return std::nullopt;
  for (const ElfSegment& segment : image.segments()) {
    if (segment.executable || segment.size > kMaxTable) continue;
    const std::string bytes = image.read(segment.address, segment.size);
    for (uint64_t at = 0; at + 8 <= bytes.size(); at += 16)   // the linker aligns it
      if (is_header(std::string_view(bytes).substr(at)))
        if (auto table = parse(bytes.substr(at), segment.address + at); table.ok()) return table;
  }
  return std::nullopt;
}

// name offset -> name, for the names that the table has.
std::map<uint32_t, std::string> find_names(const LineTable& table, const std::vector<std::string_view>& wanted) {
  const std::string_view names =
      std::string_view(table.bytes).substr(table.names, table.names_end - table.names);
  std::map<uint32_t, std::string> out;
  for (std::string_view name : wanted) {
    const std::string whole = std::string(1, '\0') + std::string(name) + '\0';
    // Not string_view::find, which looks for the first byte: every name ends with that one.
    const void* found = memmem(names.data(), names.size(), whole.data(), whole.size());
    if (found) out[static_cast<uint32_t>(static_cast<const char*>(found) - names.data() + 1)] = name;
    if (names.starts_with(std::string_view(whole).substr(1))) out[0] = name;
  }
  return out;
}

// Functions with addresses as the table has them: absolute, or relative to the text's start.
std::map<std::string, GoFunction> find_functions(const LineTable& table, const std::map<uint32_t, std::string>& names) {
  std::map<std::string, GoFunction> out;
  const uint64_t row = 2 * table.width();
  for (uint64_t i = 0; i < table.functions; i++) {
    auto entry = table.field(table.entries + i * row), where = table.field(table.entries + i * row + table.width());
    if (!entry || !where || *where > table.bytes.size()) break;
    auto name = get<uint32_t>(table.bytes, table.entries + *where + table.width());   // _func: entry, name, …
    if (!name) continue;
    auto wanted = names.find(*name);
    if (wanted == names.end()) continue;
    auto next = table.field(table.entries + (i + 1) * row);
    if (next && *next > *entry) out[wanted->second] = {*entry, *next - *entry};
  }
  return out;
}

// --- where the text begins ------------------------------------------------------------------------------

// Programs that can be loaded anywhere have the text's start as a relocation.
std::optional<uint64_t> relocated(const ElfImage& image, uint64_t address) {
  for (const ElfSection& section : image.sections()) {
    if (section.type != SHT_RELA || section.size > kMaxRelocations) continue;
    const std::string bytes = image.read(section.address, section.size);
    for (uint64_t at = 0; at + sizeof(Elf64_Rela) <= bytes.size(); at += sizeof(Elf64_Rela)) {
      auto entry = get<Elf64_Rela>(bytes, at);
      if (entry->r_offset == address) return static_cast<uint64_t>(entry->r_addend);
    }
  }
  return std::nullopt;
}

// Each function that we want has a stack check: with a wrong start of the text none would be there.
bool all_begin(const ElfImage& image, const std::map<std::string, GoFunction>& functions, uint64_t text) {
  return std::all_of(functions.begin(), functions.end(), [&](const auto& each) {
    const uint64_t address = each.second.address + text;
    return image.executable(address) && (each.first.starts_with("net.") ||   // wrappers have none
                                         go_entry(image.machine(), image.read(address, 32)));
  });
}

std::optional<uint64_t> text_start(const ElfImage& image, const LineTable& table,
                                   const std::map<std::string, GoFunction>& functions) {
  if (!table.relative) return all_begin(image, functions, 0) ? std::optional<uint64_t>(0) : std::nullopt;
  if (table.text && all_begin(image, functions, table.text)) return table.text;
  auto moved = relocated(image, table.address + LineTable::kTextField);
  if (moved && all_begin(image, functions, *moved)) return moved;
  const ElfSection* section = image.section(".text");   // newer versions leave the field empty
  if (section && all_begin(image, functions, section->address)) return section->address;
  return std::nullopt;
}

}  // namespace

Result<GoBinary> read_go_binary(const ElfImage& image, const std::vector<std::string_view>& wanted) {
  auto table = find_table(image);
  if (!table) return Error{Code::kNotFound, "no Go program"};
  if (!table->ok()) return table->error();
  GoBinary out;
  out.version = version_of(image);
  out.functions = find_functions(table->value(), find_names(table->value(), wanted));
  if (out.functions.empty()) return Error{Code::kNotFound, "a Go program without these functions"};
  auto text = text_start(image, table->value(), out.functions);
  if (!text)
    return Error{Code::kUnsupported, "its functions do not follow Go's register ABI (Go 1.17, on arm64 1.18, or "
                                     "later): " + (out.version.empty() ? "unknown version" : out.version)};
  for (auto& [name, function] : out.functions) function.address += *text;
  return out;
}

}  // namespace infertrail
