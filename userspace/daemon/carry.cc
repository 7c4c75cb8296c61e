#include "daemon/carry.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/crc32c.h"
#include "infertrail/record.pb.h"

namespace infertrail {

using carry::Anchor;
using carry::Kind;
using carry::Place;
using carry::Progress;
using carry::RecordHead;

namespace {

std::string identity_bytes(const Process& process, const Process& peer) {
  Record both;
  *both.mutable_process() = process;
  *both.mutable_peer() = peer;
  return both.SerializeAsString();
}

}  // namespace

Carry::Stream* Carry::find(Key key) {
  auto at = streams_.find(key);
  return at == streams_.end() ? nullptr : &at->second;
}

// The anchor comes first: what has none is dead.
Carry::Stream* Carry::make(Key key) {
  if (Stream* known = find(key)) return known;
  Anchor anchor{};
  auto entry = write(Kind::kAnchor, key, 0, 0, 0, {reinterpret_cast<const char*>(&anchor), sizeof(anchor)}, {});
  if (!entry) {
    unkept();
    return nullptr;
  }
  Stream& stream = streams_[key];
  stream.sequence = entry->sequence;
  stream.anchor = entry->place;
  space_->header().streams = streams_.size();
  return &stream;
}

std::optional<Carry::Entry> Carry::write(Kind kind, Key key, uint8_t side, uint64_t from, uint64_t to,
                                         std::string_view first, std::string_view second) {
  RecordHead head{};
  head.sequence = next_sequence_;
  head.stream = key.second;
  head.tls = key.first;
  head.kind = static_cast<uint8_t>(kind);
  head.side = side;
  head.from = from;
  head.to = to;
  Entry entry{head.sequence, {}, from, to};
  if (!space_->append(head, first, second, &entry.place)) return std::nullopt;
  next_sequence_++;
  return entry;
}

void Carry::unkept() { __atomic_fetch_add(&space_->header().unkept, 1, __ATOMIC_RELEASE); }

// --- the capture thread ------------------------------------------------------------------------

void Carry::keep_control(Kind kind, StreamId id, std::string_view record) {
  const Key key = key_of(id);
  if (make(key) == nullptr) return;
  auto entry = write(kind, key, 0, 0, 0, record, {});
  if (!entry) return unkept();
  find(key)->control.push_back(*entry);
}

void Carry::control(StreamId id, std::string_view record, bool only_known) {
  if (!enabled()) return;
  std::lock_guard lock(mutex_);
  if (only_known && !find(key_of(id))) return;
  keep_control(Kind::kControl, id, record);
}

void Carry::identity(StreamId id, const Process& process, const Process& peer) {
  if (!enabled()) return;
  const std::string bytes = identity_bytes(process, peer);
  std::lock_guard lock(mutex_);
  keep_control(Kind::kIdentity, id, bytes);
}

void Carry::ended(StreamId id) {
  if (!enabled()) return;
  std::lock_guard lock(mutex_);
  if (find(key_of(id))) keep_control(Kind::kEnded, id, {});
}

void Carry::data(StreamId id, uint8_t side, uint64_t offset, std::string_view head, std::string_view payload) {
  if (!enabled()) return;
  std::lock_guard lock(mutex_);
  keep_range(Kind::kData, id, side & 1, offset, offset + payload.size(), head, payload);
}

void Carry::loss(StreamId id, uint8_t side, uint64_t from, uint64_t to, std::string_view record) {
  if (!enabled()) return;
  std::lock_guard lock(mutex_);
  if (find(key_of(id))) keep_range(Kind::kLoss, id, side & 1, from, to, record, {});
}

void Carry::keep_range(Kind kind, StreamId id, uint8_t side, uint64_t from, uint64_t to, std::string_view first,
                       std::string_view second) {
  const Key key = key_of(id);
  Stream* stream = make(key);
  if (stream == nullptr || to <= stream->progress.from[side]) return;
  const uint64_t* evicted = stream->progress.evicted[side];
  if (from >= evicted[0] && to <= evicted[1]) return;   // its place is given up already
  auto entry = write(kind, key, side, from, to, first, second);
  if (!entry) return give_up(*stream, side, from, to);
  stream->data[side].push_back(*entry);
  stream->data_bytes += entry->place.bytes;
}

uint64_t Carry::loose(std::string_view head, std::string_view payload) {
  if (!enabled()) return 0;
  std::lock_guard lock(mutex_);
  auto entry = write(Kind::kLoose, {}, 0, 0, 0, head, payload);
  if (!entry) {
    unkept();
    return 0;
  }
  loose_[entry->sequence] = Loose{entry->place, std::nullopt, 0, 0};
  return entry->sequence;
}

void Carry::release(uint64_t handle) {
  if (!enabled() || handle == 0) return;
  std::lock_guard lock(mutex_);
  drop_loose(handle);
}

void Carry::drop_loose(uint64_t handle) {
  auto at = loose_.find(handle);
  if (at == loose_.end()) return;
  __atomic_store_n(&space_->head(at->second.place).dead, uint8_t{1}, __ATOMIC_RELEASE);
  space_->release(at->second.place);
  loose_.erase(at);
}

void Carry::own(uint64_t handle, StreamId id, uint8_t side, uint64_t offset, uint64_t bytes) {
  if (!enabled() || handle == 0) return;
  std::lock_guard lock(mutex_);
  auto at = loose_.find(handle);
  Stream* stream = find(key_of(id));
  if (at == loose_.end() || stream == nullptr) return;
  if (offset + bytes <= stream->progress.from[side & 1]) return drop_loose(handle);
  at->second.owner = key_of(id);
  at->second.side = side & 1;
  at->second.to = offset + bytes;
  stream->loose.insert(handle);
}

void Carry::link(StreamId object, StreamId flow) {
  if (!enabled()) return;
  std::lock_guard lock(mutex_);
  Stream* from = find(key_of(object));
  Stream* to = find(key_of(flow));
  if (from == nullptr || to == nullptr || from->flow) return;
  from->flow = key_of(flow);
  to->links++;
}

void Carry::forget(StreamId id) {
  if (!enabled()) return;
  std::lock_guard lock(mutex_);
  if (find(key_of(id))) finish(key_of(id));
}

void Carry::drop_unused(StreamId id) {
  if (!enabled()) return;
  std::lock_guard lock(mutex_);
  const Stream* stream = find(key_of(id));
  if (stream && stream->data_bytes == 0 && stream->links == 0 && stream->tickets.empty()) finish(key_of(id));
}

// --- progress ----------------------------------------------------------------------------------

uint64_t Carry::handed(StreamId id, std::optional<Resume> resume) {
  if (!enabled()) return 0;
  std::lock_guard lock(mutex_);
  Stream* stream = find(key_of(id));
  if (stream == nullptr) return 0;
  stream->tickets.push_back({false, std::move(resume)});
  return stream->first_ticket + stream->tickets.size() - 1;
}

void Carry::durable(StreamId id, uint64_t ticket) {
  if (!enabled() || ticket == 0) return;
  std::lock_guard lock(mutex_);
  Stream* stream = find(key_of(id));
  if (stream == nullptr || ticket < stream->first_ticket ||
      ticket - stream->first_ticket >= stream->tickets.size())
    return;
  stream->tickets[ticket - stream->first_ticket].done = true;
  std::optional<Resume> resume;
  while (!stream->tickets.empty() && stream->tickets.front().done) {
    stream->finished++;
    if (stream->tickets.front().resume) {
      resume = std::move(stream->tickets.front().resume);
      stream->finished = 0;
    }
    stream->tickets.pop_front();
    stream->first_ticket++;
  }
  if (resume) stream->progress.done = 0;
  const bool more = stream->finished > stream->progress.done;   // less: it takes up what another one did
  stream->progress.done = std::max(stream->progress.done, stream->finished);
  if (resume)
    advance(*stream, *resume);
  else if (more)
    write_progress(*stream);
  finish_when_over(key_of(id));
}

void Carry::closed(StreamId id) {
  if (!enabled()) return;
  std::lock_guard lock(mutex_);
  Stream* stream = find(key_of(id));
  if (stream == nullptr) return;
  stream->closed = true;
  finish_when_over(key_of(id));
}

void Carry::mark(uint64_t entries) {
  if (!enabled()) return;
  __atomic_store_n(&space_->header().mark, entries, __ATOMIC_RELEASE);
}

void Carry::advance(Stream& stream, const Resume& resume) {
  Progress& progress = stream.progress;
  progress.count = resume.count;
  progress.role = resume.role;
  std::memset(progress.protocol, 0, sizeof(progress.protocol));
  std::memcpy(progress.protocol, resume.protocol.data(),
              std::min(resume.protocol.size(), sizeof(progress.protocol) - 1));
  for (uint8_t side : {IT_IN, IT_OUT}) {
    progress.from[side] = std::max(progress.from[side], resume.from[side]);
    uint64_t* evicted = progress.evicted[side];
    evicted[0] = std::max(evicted[0], progress.from[side]);
    if (evicted[0] >= evicted[1]) evicted[0] = evicted[1] = 0;
  }
  write_progress(stream);   // first: what is released below is dead by it
  for (uint8_t side : {IT_IN, IT_OUT}) {
    // Nearly sorted by offset: an entry that is older and still needed does not keep those behind it.
    auto& entries = stream.data[side];
    std::vector<Entry> needed;
    while (!entries.empty() && entries.front().from < progress.from[side]) {
      if (entries.front().to > progress.from[side]) {
        needed.push_back(entries.front());
      } else {
        stream.data_bytes -= entries.front().place.bytes;
        space_->release(entries.front().place);
      }
      entries.pop_front();
    }
    entries.insert(entries.begin(), needed.begin(), needed.end());
  }
  for (uint64_t handle : std::set<uint64_t>(stream.loose)) {
    const Loose& owned = loose_.at(handle);
    if (owned.to > progress.from[owned.side]) continue;
    stream.loose.erase(handle);
    drop_loose(handle);
  }
}

void Carry::write_progress(Stream& stream) {
  stream.progress.version++;
  stream.progress.crc = crc32c({reinterpret_cast<const char*>(&stream.progress), offsetof(Progress, crc)});
  auto* anchor = reinterpret_cast<Anchor*>(space_->payload_bytes(stream.anchor));
  std::memcpy(&anchor->slots[stream.progress.version & 1], &stream.progress, sizeof(Progress));
  __atomic_thread_fence(__ATOMIC_RELEASE);
}

void Carry::finish_when_over(Key key) {
  Stream* stream = find(key);
  if (stream && stream->closed && stream->links == 0 && stream->tickets.empty()) finish(key);
}

// The anchor's mark is the one store that makes all of it dead.
void Carry::finish(Key key) {
  auto node = streams_.extract(key);
  Stream& stream = node.mapped();
  for (uint64_t handle : stream.loose) drop_loose(handle);
  __atomic_store_n(&space_->head(stream.anchor).dead, uint8_t{1}, __ATOMIC_RELEASE);
  space_->release(stream.anchor);
  for (const Entry& entry : stream.control) space_->release(entry.place);
  for (auto& entries : stream.data)
    for (const Entry& entry : entries) space_->release(entry.place);
  space_->header().streams = streams_.size();
  if (!stream.flow) return;
  Stream* flow = find(*stream.flow);
  if (flow == nullptr || flow->links == 0) return;
  flow->links--;
  finish_when_over(*stream.flow);
}

CarryCounts Carry::counts() const {
  CarryCounts out;
  if (!enabled()) return out;
  std::lock_guard lock(mutex_);
  out.capacity = space_->capacity();
  out.live = space_->live_bytes();
  out.streams = streams_.size();
  out.evictions = evictions_;
  out.evicted_bytes = evicted_bytes_;
  out.unkept = space_->header().unkept;
  return out;
}

// --- room --------------------------------------------------------------------------------------

carry::Place* Carry::place_of(const RecordHead& head) {
  if (head.kind == static_cast<uint8_t>(Kind::kLoose)) {
    auto at = loose_.find(head.sequence);
    return at == loose_.end() ? nullptr : &at->second.place;
  }
  Stream* stream = find({head.tls != 0, head.stream});
  if (stream == nullptr) return nullptr;
  if (head.kind == static_cast<uint8_t>(Kind::kAnchor))
    return stream->sequence == head.sequence ? &stream->anchor : nullptr;
  const bool ranged = head.kind == static_cast<uint8_t>(Kind::kData) || head.kind == static_cast<uint8_t>(Kind::kLoss);
  auto& entries = ranged ? stream->data[head.side] : stream->control;
  auto at = std::lower_bound(entries.begin(), entries.end(), head.sequence,
                             [](const Entry& entry, uint64_t sequence) { return entry.sequence < sequence; });
  return at == entries.end() || at->sequence != head.sequence ? nullptr : &at->place;
}

bool Carry::lives(const RecordHead& head, const Place& at) {
  const Place* place = place_of(head);
  return place != nullptr && *place == at;
}

void Carry::moved(const RecordHead& head, const Place& to) { *place_of(head) = to; }

}  // namespace infertrail
