// The carry's memory as an allocator of records: segments, compaction, and the scan that finds after a
// kill what was written. Knows nothing of streams: its owner says which records live (CarryOwner).
//
// Thread: none of its own; the owner's lock is held around every call.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/carry_layout.h"

namespace infertrail::carry {

struct Place {
  uint32_t segment = 0, offset = 0;   // of the RecordHead, inside the segment
  uint32_t bytes = 0;                 // with head and padding
  bool operator==(const Place&) const = default;
};

class CarryOwner {
 public:
  virtual ~CarryOwner() = default;
  // Whether the record at that place is the one that counts, and if so, that it moves to `to`.
  virtual bool lives(const RecordHead& head, const Place& at) = 0;
  virtual void moved(const RecordHead& head, const Place& to) = 0;
  // Gives up bytes of some stream by release(); false: there are none to give up.
  virtual bool evict() = 0;
};

struct Found {
  RecordHead head;
  Place place;
};

class Space {
 public:
  Space(std::span<std::byte> memory, CarryOwner& owner) : memory_(memory), owner_(owner) {}

  MemoryHeader& header() { return *reinterpret_cast<MemoryHeader*>(memory_.data()); }
  // Fewer cannot be compacted.
  static constexpr size_t kMinSegments = 6;
  size_t segments() const { return segments_.size(); }
  void start(size_t segment_bytes);
  void wipe();   // no segment holds records any more
  size_t memory_bytes() const { return memory_.size(); }

  // Everything written and whole, in any order; `corrupt` counts segments that ended in a record whose
  // bytes are not those that were committed. What is not kept() afterwards is free.
  std::vector<Found> scan(uint64_t* corrupt);
  void keep(const Place& place) { segments_[place.segment].live += place.bytes; }
  void scanned();

  // Fills in commit, bytes, crc. False: no room, even after eviction.
  bool append(RecordHead head, std::string_view first, std::string_view second, Place* out);
  void release(const Place& place);

  RecordHead& head(const Place& place);
  std::string_view payload(const Place& place);
  char* payload_bytes(const Place& place);
  uint64_t live_bytes() const;
  uint64_t capacity() const { return segments_.size() * segment_bytes_; }

 private:
  struct Segment {
    uint64_t epoch = 0;
    uint32_t used = 0, live = 0;
    bool free = true;
  };
  std::byte* at(const Place& place) { return base(place.segment) + place.offset; }
  std::byte* base(uint32_t segment) { return memory_.data() + kHeaderBytes + segment * segment_bytes_; }
  SegmentHead& segment_head(uint32_t segment) { return *reinterpret_cast<SegmentHead*>(base(segment)); }
  uint64_t commit_of(const Segment& segment) { return segment.epoch ^ header().secret; }
  void walk(uint32_t segment, std::vector<Found>* found, uint64_t* corrupt);
  bool make_room();
  bool open_segment();
  void compact(uint32_t segment);
  void place_record(const RecordHead& head, std::string_view first, std::string_view second, Place* out);
  bool fits(size_t bytes) const;

  std::span<std::byte> memory_;
  CarryOwner& owner_;
  size_t segment_bytes_ = 0;
  std::vector<Segment> segments_;
  std::vector<uint32_t> free_;
  uint32_t open_ = UINT32_MAX;   // the segment that is written to
  uint64_t next_epoch_ = 1;
};

}  // namespace infertrail::carry
