#include "daemon/carry_space.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "base/result.h"

namespace infertrail::carry {
namespace {

constexpr uint32_t kNone = UINT32_MAX;
// Compaction itself needs room before it makes any.
constexpr size_t kReserve = 2;

template <typename T>
void store_release(T* to, T value) {
  __atomic_store_n(to, value, __ATOMIC_RELEASE);
}

// Everything but commit, crc and the mark `dead`; an anchor's payload changes and has its own.
uint32_t crc_of(const RecordHead& head, std::string_view first, std::string_view second) {
  RecordHead fixed = head;
  fixed.commit = 0;
  fixed.crc = 0;
  fixed.dead = 0;
  uint32_t crc = crc32c({reinterpret_cast<const char*>(&fixed), sizeof(fixed)});
  if (head.kind == static_cast<uint8_t>(Kind::kAnchor)) return crc;
  return crc32c(second, crc32c(first, crc));
}

}  // namespace

void Space::start(size_t segment_bytes) {
  segment_bytes_ = segment_bytes;
  segments_.assign((memory_.size() - kHeaderBytes) / segment_bytes, Segment());
  free_.clear();
  open_ = kNone;
}

void Space::wipe() {
  for (uint32_t i = 0; i < segments_.size(); i++) store_release(&segment_head(i).epoch, uint64_t{0});
  scanned();
}

RecordHead& Space::head(const Place& place) { return *reinterpret_cast<RecordHead*>(at(place)); }
char* Space::payload_bytes(const Place& place) {
  return reinterpret_cast<char*>(at(place) + sizeof(RecordHead));
}
std::string_view Space::payload(const Place& place) { return {payload_bytes(place), head(place).bytes}; }

uint64_t Space::live_bytes() const {
  uint64_t total = 0;
  for (const Segment& segment : segments_) total += segment.live;
  return total;
}

// --- what a dead process left ------------------------------------------------------------------

std::vector<Found> Space::scan(uint64_t* corrupt) {
  std::vector<Found> found;
  for (uint32_t i = 0; i < segments_.size(); i++) {
    segments_[i].epoch = segment_head(i).epoch;
    next_epoch_ = std::max(next_epoch_, segments_[i].epoch + 1);
    if (segments_[i].epoch != 0) walk(i, &found, corrupt);
  }
  return found;
}

void Space::walk(uint32_t number, std::vector<Found>* found, uint64_t* corrupt) {
  Segment& segment = segments_[number];
  Place place{number, sizeof(SegmentHead), 0};
  while (place.offset + sizeof(RecordHead) <= segment_bytes_) {
    const RecordHead record = head(place);
    if (record.commit != commit_of(segment)) break;   // never written, or not to its end
    const size_t bytes = sizeof(RecordHead) + aligned(record.bytes);
    if (record.bytes > segment_bytes_ || place.offset + bytes > segment_bytes_ ||
        crc_of(record, payload(place), {}) != record.crc) {
      (*corrupt)++;
      break;
    }
    place.bytes = static_cast<uint32_t>(bytes);
    found->push_back({record, place});
    place.offset += place.bytes;
  }
  segment.used = static_cast<uint32_t>(segment_bytes_);   // nothing is written behind a torn end
  segment.free = false;
}

void Space::scanned() {
  for (uint32_t i = 0; i < segments_.size(); i++) {
    if (segments_[i].live > 0) continue;
    segments_[i].free = true;
    free_.push_back(i);
  }
}

// --- writing -----------------------------------------------------------------------------------

bool Space::fits(size_t bytes) const {
  return open_ != kNone && segments_[open_].used + bytes <= segment_bytes_;
}

bool Space::open_segment() {
  if (free_.empty()) return false;
  if (open_ != kNone && segments_[open_].live == 0) {
    segments_[open_].free = true;
    free_.push_back(open_);
  }
  open_ = free_.back();
  free_.pop_back();
  Segment& segment = segments_[open_];
  segment = Segment();
  segment.free = false;
  segment.used = sizeof(SegmentHead);
  segment.epoch = next_epoch_++;
  store_release(&segment_head(open_).epoch, segment.epoch);   // from here on its old records are none
  return true;
}

bool Space::append(RecordHead head, std::string_view first, std::string_view second, Place* out) {
  head.bytes = static_cast<uint32_t>(first.size() + second.size());
  const size_t bytes = sizeof(RecordHead) + aligned(head.bytes);
  if (bytes > segment_bytes_ - sizeof(SegmentHead)) return false;
  if (!fits(bytes)) {
    // Compaction may have opened a segment with room for it.
    if (!make_room()) return false;
    if (!fits(bytes) && !open_segment()) return false;
  }
  head.crc = crc_of(head, first, second);
  place_record(head, first, second, out);
  return true;
}

void Space::place_record(const RecordHead& head, std::string_view first, std::string_view second, Place* out) {
  Segment& segment = segments_[open_];
  *out = {open_, segment.used, static_cast<uint32_t>(sizeof(RecordHead) + aligned(head.bytes))};
  RecordHead uncommitted = head;
  uncommitted.commit = 0;
  std::memcpy(at(*out), &uncommitted, sizeof(uncommitted));
  char* payload = payload_bytes(*out);
  if (!first.empty()) std::memcpy(payload, first.data(), first.size());
  if (!second.empty()) std::memcpy(payload + first.size(), second.data(), second.size());
  store_release(&this->head(*out).commit, commit_of(segment));
  segment.used += out->bytes;
  segment.live += out->bytes;
}

void Space::release(const Place& place) {
  Segment& segment = segments_[place.segment];
  IT_CHECK(segment.live >= place.bytes);
  segment.live -= place.bytes;
  if (segment.live > 0 || place.segment == open_ || segment.free) return;
  segment.free = true;
  free_.push_back(place.segment);
}

// Until more segments are free than compaction needs. A segment at most half alive gives room even
// when the records that are moved leave the ends of segments empty; otherwise somebody's bytes must go.
bool Space::make_room() {
  for (size_t round = 0; free_.size() <= kReserve; round++) {
    uint32_t sparsest = kNone;
    for (uint32_t i = 0; i < segments_.size(); i++)
      if (i != open_ && !segments_[i].free && (sparsest == kNone || segments_[i].live < segments_[sparsest].live))
        sparsest = i;
    const bool worth = sparsest != kNone && segments_[sparsest].live <= segment_bytes_ / 2 &&
                       round < 4 * segments_.size() && !free_.empty();
    if (worth)
      compact(sparsest);
    else if (!owner_.evict())
      return false;
  }
  return true;
}

void Space::compact(uint32_t number) {
  const Segment& segment = segments_[number];
  Place place{number, sizeof(SegmentHead), 0};
  while (segment.live > 0 && place.offset + sizeof(RecordHead) <= segment_bytes_) {
    const RecordHead record = head(place);
    if (record.commit != commit_of(segment)) break;
    place.bytes = static_cast<uint32_t>(sizeof(RecordHead) + aligned(record.bytes));
    if (owner_.lives(record, place)) {
      if (!fits(place.bytes) && !open_segment()) return;   // the rest stays where it is
      Place to;
      place_record(record, payload(place), {}, &to);
      owner_.moved(record, to);
      store_release(&head(place).dead, uint8_t{1});   // of two equal ones the new one counts
      release(place);
    }
    place.offset += place.bytes;
  }
}

}  // namespace infertrail::carry
