// The carry at the start (what a dead process left, and its replay), and what goes when it is full.
#include <algorithm>
#include <cstring>

#include "base/crc32c.h"
#include "base/crypto.h"
#include "daemon/carry.h"
#include "infertrail/record.pb.h"

namespace infertrail {

using carry::Anchor;
using carry::MemoryHeader;
using carry::Kind;
using carry::Progress;

namespace {

constexpr uint64_t kKeptHead = 64u << 10;   // of each direction: heads of messages stand there
constexpr size_t kEvictPart = 64;           // an eviction frees at least this part of the memory

uint32_t crc_of(const MemoryHeader& header) {
  return crc32c({reinterpret_cast<const char*>(&header), offsetof(MemoryHeader, crc)});
}

}  // namespace

Carry::Carry(std::span<std::byte> memory, const CarryOptions& options) {
  if (memory.size() < carry::kHeaderBytes + carry::Space::kMinSegments * options.segment_bytes) return;
  carry::CarryOwner& owner = *this;
  space_ = std::make_unique<carry::Space>(memory, owner);
  found_.fresh = why_not(options);
  MemoryHeader& header = space_->header();
  if (!found_.fresh.empty()) {
    const bool empty = std::all_of(memory.begin(), memory.begin() + sizeof(MemoryHeader), [](std::byte b) { return b == std::byte{0}; });
    if (empty) found_.fresh.clear();
    found_.lost = !empty && (std::memcmp(header.magic, carry::kMagic, sizeof(header.magic)) != 0 || header.streams > 0);
    begin_anew(options);
    return;
  }
  adopt();
  if (header.trail != options.trail) {   // its numbers mean another trail: nothing of this one is known
    found_.mark = UINT64_MAX;
    header.trail = options.trail;
    header.crc = crc_of(header);
  }
}

std::string Carry::why_not(const CarryOptions& options) const {
  const MemoryHeader& header = space_->header();
  if (std::memcmp(header.magic, carry::kMagic, sizeof(header.magic)) != 0) return "no header";
  if (header.layout != carry::kLayout) return "layout " + std::to_string(header.layout);
  if (header.crc != crc_of(header)) return "damaged header";
  if (header.abi != IT_ABI_VERSION) return "records of ABI " + std::to_string(header.abi);
  if (strnlen(header.boot_id, sizeof(header.boot_id)) == sizeof(header.boot_id) || options.boot_id != header.boot_id)
    return "of another boot";
  if (header.segment_bytes != options.segment_bytes) return "segments of " + std::to_string(header.segment_bytes) + " bytes";
  return header.bytes == space_->memory_bytes() ? "" : "another size";
}

void Carry::begin_anew(const CarryOptions& options) {
  MemoryHeader& header = space_->header();
  // First the header stops being one: half of a new one and half of an old one must not pass.
  std::memset(header.magic, 0, sizeof(header.magic));
  __atomic_thread_fence(__ATOMIC_RELEASE);
  MemoryHeader fresh{};
  auto secret = random_bytes(sizeof(fresh.secret));
  IT_CHECK(secret.ok());
  std::memcpy(&fresh.secret, secret.value().data(), sizeof(fresh.secret));
  fresh.layout = carry::kLayout;
  fresh.abi = IT_ABI_VERSION;
  fresh.bytes = space_->memory_bytes();
  fresh.segment_bytes = options.segment_bytes;
  fresh.trail = options.trail;
  options.boot_id.copy(fresh.boot_id, sizeof(fresh.boot_id) - 1);
  space_->start(options.segment_bytes);
  space_->wipe();
  std::memcpy(fresh.magic, carry::kMagic, sizeof(fresh.magic));
  fresh.crc = crc_of(fresh);
  std::memset(fresh.magic, 0, sizeof(fresh.magic));
  std::memcpy(&header, &fresh, sizeof(fresh));
  __atomic_thread_fence(__ATOMIC_RELEASE);
  std::memcpy(header.magic, carry::kMagic, sizeof(header.magic));
}

void Carry::adopt() {
  MemoryHeader& header = space_->header();
  space_->start(header.segment_bytes);
  found_.adopted = true;
  found_.mark = header.mark;
  found_.unkept = header.unkept;
  header.unkept = 0;
  std::vector<carry::Found> all = space_->scan(&found_.corrupt);
  std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.head.sequence < b.head.sequence; });
  if (!all.empty()) next_sequence_ = all.back().head.sequence + 1;
  std::erase_if(all, [](auto& found) { return found.head.dead != 0; });
  // The kill came between the two ends of a move: both are the same, and only one may be found again.
  for (size_t i = 1; i < all.size(); i++)
    if (all[i].head.sequence == all[i - 1].head.sequence) space_->head(all[i - 1].place).dead = all[i - 1].head.dead = 1;
  for (const carry::Found& found : all)
    if (found.head.kind == static_cast<uint8_t>(Kind::kAnchor)) take_stream(found);
  for (const carry::Found& found : all)
    if (found.head.kind != static_cast<uint8_t>(Kind::kAnchor)) take_record(found);
  space_->scanned();
  found_.streams = streams_.size();
  header.streams = streams_.size();
}

void Carry::take_stream(const carry::Found& found) {
  if (found.head.dead) return;
  Stream& stream = streams_[{found.head.tls != 0, found.head.stream}];
  stream.sequence = found.head.sequence;
  stream.anchor = found.place;
  const auto* anchor = reinterpret_cast<const Anchor*>(space_->payload_bytes(found.place));
  for (const Progress& slot : anchor->slots) {
    const bool whole = slot.crc == crc32c({reinterpret_cast<const char*>(&slot), offsetof(Progress, crc)});
    if (whole && slot.version > stream.progress.version) stream.progress = slot;
  }
  space_->keep(found.place);
}

void Carry::take_record(const carry::Found& found) {
  const carry::RecordHead& head = found.head;
  if (head.dead) return;
  if (head.kind == static_cast<uint8_t>(Kind::kLoose)) {
    loose_[head.sequence] = Loose{found.place, std::nullopt, 0, 0};
    return space_->keep(found.place);
  }
  Stream* stream = find({head.tls != 0, head.stream});
  if (stream == nullptr || head.sequence < stream->sequence) return;
  const Entry entry{head.sequence, found.place, head.from, head.to};
  const bool ranged = head.kind == static_cast<uint8_t>(Kind::kData) || head.kind == static_cast<uint8_t>(Kind::kLoss);
  if (!ranged) {
    stream->control.push_back(entry);
    return space_->keep(found.place);
  }
  const uint64_t* evicted = stream->progress.evicted[head.side & 1];
  if (head.to <= stream->progress.from[head.side & 1] || (head.from >= evicted[0] && head.to <= evicted[1])) return;
  stream->data[head.side & 1].push_back(entry);
  stream->data_bytes += found.place.bytes;
  space_->keep(found.place);
}

// Only the capture thread writes records, and it is here: places stay, though others may release them.
void Carry::replay(const CarryReplay& into) {
  if (!enabled()) return;
  struct Item {
    uint64_t sequence;
    StreamId stream;
    carry::Place place;
    bool anchor;
    Progress progress;
  };
  std::vector<Item> items;
  {
    std::lock_guard lock(mutex_);
    for (auto& [key, stream] : streams_) {
      const StreamId id{key.second, key.first};
      items.push_back({stream.sequence, id, stream.anchor, true, stream.progress});
      for (auto* list : {&stream.control, &stream.data[0], &stream.data[1]})
        for (const Entry& entry : *list) items.push_back({entry.sequence, id, entry.place, false, {}});
    }
    for (auto& [handle, loose] : loose_) items.push_back({handle, {}, loose.place, false, {}});
  }
  std::sort(items.begin(), items.end(), [](auto& a, auto& b) { return a.sequence < b.sequence; });
  for (const Item& item : items) {
    if (item.anchor) {
      const Progress& progress = item.progress;
      if (progress.protocol[0] != '\0' || progress.done > 0)
        into.resume(item.stream, {{progress.from[0], progress.from[1]}, progress.count, progress.done, progress.role,
                                  progress.protocol});
      for (uint8_t side : {IT_IN, IT_OUT})
        if (const uint64_t* range = item.progress.evicted[side]; range[0] < range[1])
          into.evicted(item.stream, side, range[0], range[1]);
      continue;
    }
    const std::string_view record = space_->payload(item.place);
    switch (static_cast<Kind>(space_->head(item.place).kind)) {
      case Kind::kControl: into.control(record); break;
      case Kind::kData: into.data(record); break;
      case Kind::kLoss: into.loss(record); break;
      case Kind::kEnded: into.ended(item.stream); break;
      case Kind::kLoose: into.loose(item.sequence, record); break;
      case Kind::kIdentity: {
        Record both;
        if (both.ParseFromArray(record.data(), static_cast<int>(record.size())))
          into.identity(item.stream, both.process(), both.peer());
        break;
      }
      case Kind::kAnchor: break;
    }
  }
}

// --- when it is full ---------------------------------------------------------------------------

// Of the streams that hold most, the oldest bytes, so that what is left out is one range; the beginnings
// only when there is nothing else.
bool Carry::evict() {
  std::vector<Stream*> by_size;
  for (auto& [key, stream] : streams_)
    if (stream.data_bytes > 0) by_size.push_back(&stream);
  std::sort(by_size.begin(), by_size.end(), [](auto* a, auto* b) { return a->data_bytes > b->data_bytes; });
  const uint64_t enough = space_->capacity() / kEvictPart;
  uint64_t freed = 0;
  for (uint64_t kept : {std::min(kKeptHead, enough / 2), uint64_t{0}}) {
    for (Stream* stream : by_size) {
      freed += evict_from(*stream, kept, enough - freed);
      if (freed >= enough) return true;
    }
    if (freed > 0) return true;
  }
  return false;
}

uint64_t Carry::evict_from(Stream& stream, uint64_t kept, uint64_t enough) {
  uint64_t freed = 0;
  for (uint8_t side : {IT_IN, IT_OUT}) {
    uint64_t from = UINT64_MAX, to = 0;
    for (const Entry& entry : stream.data[side]) {
      if (freed >= enough) break;
      if (entry.from < stream.progress.from[side] + kept) continue;
      from = std::min(from, entry.from);
      to = std::max(to, entry.to);
      freed += entry.place.bytes;
    }
    if (from < to) give_up(stream, side, from, to);
  }
  return freed;
}

// [from, to) of the stream is not here any more, nor is what lies between it and the range before.
void Carry::give_up(Stream& stream, uint8_t side, uint64_t from, uint64_t to) {
  uint64_t* range = stream.progress.evicted[side];
  if (range[0] < range[1]) {
    from = std::min(from, range[0]);
    to = std::max(to, range[1]);
  }
  auto& entries = stream.data[side];
  for (bool grew = true; grew;) {   // whole records go
    grew = false;
    for (const Entry& entry : entries) {
      if (entry.from >= to || entry.to <= from || (entry.from >= from && entry.to <= to)) continue;
      from = std::min(from, entry.from);
      to = std::max(to, entry.to);
      grew = true;
    }
  }
  range[0] = from;
  range[1] = to;
  write_progress(stream);   // first: what is released below is dead by it
  std::deque<Entry> kept;
  for (const Entry& entry : entries) {
    if (entry.from < from || entry.to > to) {
      kept.push_back(entry);
      continue;
    }
    stream.data_bytes -= entry.place.bytes;
    evicted_bytes_ += entry.to - entry.from;
    space_->release(entry.place);
  }
  entries = std::move(kept);
  evictions_++;
}

}  // namespace infertrail
