#include "capture/function_bounds.h"

#include <algorithm>
#include <cstring>

namespace infertrail {
namespace {

// Pointer encodings (DW_EH_PE_*) that linkers of Linux write.
constexpr uint8_t kData4 = 0x03, kSigned4 = 0x0b, kSigned8 = 0x0c, kData8 = 0x04, kAbsolute = 0x00;
constexpr uint8_t kFromPlace = 0x10, kFromHeader = 0x30, kFormMask = 0x0f, kBaseMask = 0x70;

constexpr uint64_t kMaxTable = 1u << 24;        // entries of .eh_frame_hdr; read one by one
constexpr uint64_t kMaxSection = 96u << 20;     // bytes of .eh_frame without a header
constexpr size_t kMaxRanges = 2u << 20;
constexpr size_t kMaxCie = 256;                 // bytes of a CIE that we look at
constexpr uint64_t kMaxFunction = 16u << 20;    // a larger "function" is not one

// Skips or reads the variable-length numbers of DWARF; false at the end of the bytes.
bool skip_leb(std::string_view bytes, size_t* at) {
  while (*at < bytes.size())
    if (!(bytes[(*at)++] & 0x80)) return true;
  return false;
}

size_t form_size(uint8_t encoding) {
  switch (encoding & kFormMask) {
    case kAbsolute:
    case kData8:
    case kSigned8:
      return 8;
    case kData4:
    case kSigned4:
      return 4;
    default:
      return 0;
  }
}

// The encoding of code pointers that a CIE declares (augmentation "R"), from its bytes behind the id.
std::optional<uint8_t> code_encoding(std::string_view cie) {
  if (cie.empty() || (cie[0] != 1 && cie[0] != 3)) return std::nullopt;
  const size_t end = cie.find('\0', 1);
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view augmentation = cie.substr(1, end - 1);
  if (augmentation.empty()) return kAbsolute;
  if (augmentation[0] != 'z') return std::nullopt;
  size_t at = end + 1;
  if (!skip_leb(cie, &at) || !skip_leb(cie, &at)) return std::nullopt;   // alignment factors
  if (cie[0] == 1 ? at++ >= cie.size() : !skip_leb(cie, &at)) return std::nullopt;   // return register
  if (!skip_leb(cie, &at)) return std::nullopt;                          // length of what follows
  for (char each : augmentation.substr(1)) {
    if (at >= cie.size()) return std::nullopt;
    const uint8_t encoding = static_cast<uint8_t>(cie[at++]);
    if (each == 'R') return encoding;
    if (each == 'L') continue;
    if (each != 'P' || form_size(encoding) == 0) return std::nullopt;
    at += form_size(encoding);   // the personality routine
  }
  return kAbsolute;
}

}  // namespace

FunctionBounds::FunctionBounds(const ElfImage& image) : image_(image) {
  if (image.frame_header() != 0) use_table(image.frame_header());
  // Fully static programs have no header: their start-up code registers the section itself.
  const ElfSection* section = image.section(".eh_frame");
  if (count_ == 0 && section) read_section(*section);
}

void FunctionBounds::use_table(uint64_t header) {
  const std::string head = image_.read(header, 12);
  if (head.size() < 12 || head[0] != 1) return;
  // eh_frame_ptr, 4 bytes; fde_count udata4; table of datarel sdata4 pairs: what ld, gold and lld write.
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(head[i]); };
  if (form_size(byte(1)) != 4 || byte(2) != kData4 || byte(3) != (kFromHeader | kSigned4)) return;
  uint32_t count = 0;
  std::memcpy(&count, head.data() + 8, sizeof(count));
  if (count == 0 || count > kMaxTable) return;
  header_ = header;
  table_ = header + 12;
  count_ = count;
}

template <typename T>
std::optional<T> FunctionBounds::get(uint64_t address) const {
  const uint64_t at = address - section_address_;
  if (at >= section_.size() || section_.size() - at < sizeof(T)) return image_.get<T>(address);
  T value{};
  std::memcpy(&value, section_.data() + at, sizeof(T));
  return value;
}

std::string FunctionBounds::text_at(uint64_t address, size_t count) const {
  const uint64_t at = address - section_address_;
  return at < section_.size() ? section_.substr(static_cast<size_t>(at), count) : image_.read(address, count);
}

// An entry of .eh_frame at an address, which is what the header's table points to.
std::optional<FunctionRange> FunctionBounds::entry(uint64_t fde) const {
  auto length = get<uint32_t>(fde);
  auto back = get<uint32_t>(fde + 4);
  if (!length || !back || *length < 8 || *length == 0xffffffff || *back == 0) return std::nullopt;
  const uint64_t cie = fde + 4 - *back;
  auto cie_length = get<uint32_t>(cie);
  auto cie_id = get<uint32_t>(cie + 4);
  if (!cie_length || !cie_id || *cie_id != 0 || *cie_length < 5) return std::nullopt;
  const std::string text = text_at(cie + 8, std::min<size_t>(kMaxCie, *cie_length - 4));
  auto encoding = code_encoding(text);
  if (!encoding || form_size(*encoding) == 0) return std::nullopt;
  const size_t size = form_size(*encoding);
  uint64_t begin = 0, range = 0;
  if (size == 4) {
    auto first = get<int32_t>(fde + 8);
    auto second = get<uint32_t>(fde + 12);
    if (!first || !second) return std::nullopt;
    const bool is_signed = (*encoding & kFormMask) == kSigned4;
    begin = is_signed ? static_cast<uint64_t>(static_cast<int64_t>(*first)) : static_cast<uint32_t>(*first);
    range = *second;
  } else {
    auto first = get<uint64_t>(fde + 8);
    auto second = get<uint64_t>(fde + 16);
    if (!first || !second) return std::nullopt;
    begin = *first;
    range = *second;
  }
  if ((*encoding & kBaseMask) == kFromPlace)
    begin += fde + 8;
  else if ((*encoding & kBaseMask) != 0)
    return std::nullopt;
  if (range == 0 || range > kMaxFunction || begin + range < begin || !image_.executable(begin)) return std::nullopt;
  return FunctionRange{begin, begin + range};
}

void FunctionBounds::read_section(const ElfSection& section) {
  if (section.size > kMaxSection) return;
  section_ = image_.read(section.address, static_cast<size_t>(section.size));
  section_address_ = section.address;
  for (uint64_t at = 0; at < section_.size() && ranges_.size() < kMaxRanges;) {
    auto length = get<uint32_t>(section_address_ + at);
    if (!length || *length == 0 || *length == 0xffffffff) break;   // the end; 64-bit entries: nobody writes them
    if (auto found = entry(section_address_ + at)) ranges_.push_back(*found);
    at += 4 + static_cast<uint64_t>(*length);
  }
  section_.clear();
  section_.shrink_to_fit();
  std::sort(ranges_.begin(), ranges_.end(),
            [](const FunctionRange& a, const FunctionRange& b) { return a.begin < b.begin; });
}

std::optional<FunctionRange> FunctionBounds::at(uint64_t address) const {
  if (count_ == 0) {
    auto next = std::upper_bound(ranges_.begin(), ranges_.end(), address,
                                 [](uint64_t value, const FunctionRange& each) { return value < each.begin; });
    if (next == ranges_.begin() || address >= std::prev(next)->end) return std::nullopt;
    return *std::prev(next);
  }
  uint64_t low = 0, high = count_;   // the last entry that begins at or before the address
  while (low < high) {
    const uint64_t middle = (low + high) / 2;
    auto begin = image_.get<int32_t>(table_ + middle * 8);
    if (!begin) return std::nullopt;
    if (header_ + static_cast<uint64_t>(static_cast<int64_t>(*begin)) <= address)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == 0) return std::nullopt;
  auto begin = image_.get<int32_t>(table_ + (low - 1) * 8);
  auto fde = image_.get<int32_t>(table_ + (low - 1) * 8 + 4);
  if (!begin || !fde) return std::nullopt;
  auto range = entry(header_ + static_cast<uint64_t>(static_cast<int64_t>(*fde)));
  if (!range || range->begin != header_ + static_cast<uint64_t>(static_cast<int64_t>(*begin))) return std::nullopt;
  return address < range->end ? range : std::nullopt;
}

bool FunctionBounds::begins_at(uint64_t address) const {
  auto range = at(address);
  return range && range->begin == address;
}

}  // namespace infertrail
