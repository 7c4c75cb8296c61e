#include "capture/needles.h"

#include <algorithm>
#include <cstring>

namespace infertrail {
namespace {

constexpr size_t kPiece = 1u << 20;
// Only every fourth position is looked at: a needle of seven bytes has four whole bytes at one of them.
constexpr size_t kStride = 4, kWord = 4, kShortest = kStride + kWord - 1;

}  // namespace

uint32_t Needles::slot(const char* bytes) {
  uint32_t word = 0;
  std::memcpy(&word, bytes, sizeof(word));
  return word * 2654435761u >> 16;   // Knuth's multiplicative hash
}

Needles::Needles(std::vector<std::string> needles) : needles_(std::move(needles)) {
  for (const std::string& each : needles_) {
    IT_CHECK(each.size() >= kShortest && each.size() <= 255);
    for (size_t i = 0; i < kStride; i++) {
      const uint32_t at = slot(each.data() + i);
      begins_[at / 64] |= uint64_t{1} << at % 64;
    }
    longest_ = std::max(longest_, each.size());
  }
}

void Needles::scan(const ByteSource& source, uint64_t offset, uint64_t size, const Found& found) const {
  std::string piece(kPiece + longest_, 0);   // overlaps the next by the longest needle
  for (uint64_t from = 0; from < size; from += kPiece) {
    const size_t want = static_cast<size_t>(std::min<uint64_t>(piece.size(), size - from));
    const size_t n = source.read(offset + from, piece.data(), want);
    const std::string_view bytes(piece.data(), n);
    for (size_t word = 0; word + kWord <= n; word += kStride) {
      const uint32_t hash = slot(piece.data() + word);
      if (!(begins_[hash / 64] >> hash % 64 & 1)) continue;
      for (size_t at = word < kStride ? 0 : word - kStride + 1; at <= word && at < kPiece; at++)
        for (size_t i = 0; i < needles_.size(); i++)
          if (bytes.substr(at).starts_with(needles_[i]) && !found(i, offset + from + at)) return;
    }
    if (n < want) return;   // cut short meanwhile
  }
}

}  // namespace infertrail
