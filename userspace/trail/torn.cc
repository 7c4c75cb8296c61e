#include "trail/torn.h"

#include <algorithm>

#include "base/bytes.h"
#include "trail/encoding.h"
#include "trail/merkle.h"

namespace infertrail::trail {
namespace {

constexpr std::string_view kBegin = "torn tail of segments/";
constexpr std::string_view kFrom = " from offset ";
constexpr std::string_view kAbandoned = "abandoned after a failed write";
constexpr std::string_view kBytes = " bytes, sha256 ";

Error wrong(const TornNote& note, const std::string& what) {
  return {Code::kCorrupt,
          note.segment.path() + ": offset " + std::to_string(note.offset) + ": " + what};
}

}  // namespace

std::string TornNote::text() const {
  std::string text =
      "torn tail of " + segment.path() + std::string(kFrom) + std::to_string(offset) + ": ";
  if (sha256.empty()) return text + std::string(kAbandoned);
  return text + std::to_string(bytes) + std::string(kBytes) + sha256;
}

std::optional<TornNote> TornNote::parse(std::string_view text) {
  size_t from = text.find(kFrom), colon = text.find(": ");
  if (!text.starts_with(kBegin) || from == std::string_view::npos ||
      colon == std::string_view::npos || colon < from)
    return std::nullopt;
  TornNote note;
  auto name = SegmentName::parse(std::string(text.substr(kBegin.size(), from - kBegin.size())));
  auto offset = canonical_number(text.substr(from + kFrom.size(), colon - from - kFrom.size()));
  if (!name.ok() || !offset) return std::nullopt;
  note.segment = name.value();
  note.offset = *offset;
  std::string_view rest = text.substr(colon + 2);
  if (rest != kAbandoned) {
    size_t middle = rest.find(kBytes);
    if (middle == std::string_view::npos) return std::nullopt;
    auto bytes = canonical_number(rest.substr(0, middle));
    if (!bytes || rest.size() != middle + kBytes.size() + 64) return std::nullopt;
    note.bytes = *bytes;
    note.sha256 = rest.substr(middle + kBytes.size());
  }
  if (note.text() != text) return std::nullopt;
  return note;
}

Result<TornNote> note_of(const std::string& trail_dir, const TornTail& tail) {
  TRY(SegmentFile file, SegmentFile::open(trail_dir, tail.segment));
  TRY(std::string bytes, file.bytes(tail.offset, file.size() - tail.offset));
  return TornNote{tail.segment, tail.offset, bytes.size(), hex(bytes_of(sha256(bytes)))};
}

Result<std::vector<TornTail>> unnamed_tails(const std::string& trail_dir, const ScanEnd& end,
                                            const std::vector<TornNote>& notes) {
  for (const TornNote& note : notes) {
    auto tail = std::find_if(end.torn.begin(), end.torn.end(),
                             [&](const TornTail& t) { return t.segment == note.segment; });
    if (note.sha256.empty()) {
      if (tail != end.torn.end() && tail->offset < note.offset)
        return wrong(note,
                     "is damaged at offset " + std::to_string(tail->offset) + ": " + tail->what);
      continue;
    }
    TornTail named{note.segment, note.offset, note.bytes, 0, 0, {}};
    auto now = note_of(trail_dir, named);
    if (!now.ok())
      return wrong(note, "the torn tail named by a recovery record: " + now.error().message);
    if (now.value().text() != note.text() ||
        (tail != end.torn.end() && tail->offset != note.offset))
      return wrong(note, "the torn tail is not the one that a recovery record names");
  }
  std::vector<TornTail> unnamed;
  for (const TornTail& tail : end.torn) {
    bool named = std::any_of(notes.begin(), notes.end(),
                             [&](const TornNote& n) { return n.segment == tail.segment; });
    if (named) continue;
    if (tail.frames < end.frames)
      return Error{Code::kCorrupt, tail.segment.path() + ": offset " + std::to_string(tail.offset) +
                                       ": " + tail.what + ", and no recovery record names it"};
    unnamed.push_back(tail);
  }
  return unnamed;
}

}  // namespace infertrail::trail
