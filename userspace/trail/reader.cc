#include "trail/reader.h"

#include <algorithm>

#include "trail/entry.h"
#include "trail/index.h"
#include "trail/lock.h"
#include "trail/scan.h"

namespace infertrail::trail {
namespace {

constexpr uint64_t kDefaultLimit = 100;
constexpr uint64_t kCandidatesAtOnce = 512;

void leave_bodies_out(Record& record) {
  record.mutable_request()->clear_body();
  record.mutable_request()->clear_body_binary();
  record.mutable_response()->clear_body();
  record.mutable_response()->clear_body_binary();
  if (!record.has_inference()) return;
  record.mutable_inference()->clear_messages();
  record.mutable_inference()->clear_output_text();
  record.mutable_inference()->clear_reasoning_text();
}

}  // namespace

Result<std::unique_ptr<Reader>> Reader::open(const std::string& trail_dir,
                                             const ReaderOptions& options) {
  TRY(std::vector<SegmentName> segments, list_segments(trail_dir));
  std::unique_ptr<Reader> reader(new Reader(trail_dir, options));
  reader->segments_ = std::move(segments);
  return reader;
}

// With a writer: what it says is durable (never what only happens to be in a file already). Without
// one: what its recovery would find.
Result<uint64_t> Reader::size() {
  TRY(std::optional<uint64_t> told, sequenced_by_writer(dir_));
  TRY(segments_, list_segments(dir_));  // after the size: its segments exist by then
  if (told) {
    seen_size_ = *told;
  } else if (segments_.empty()) {
    seen_size_ = 0;
  } else {
    TRY(ScanEnd end, scan_log(dir_, {{}, segments_.back().first_index, UINT64_MAX, false}, {}));
    seen_size_ = end.next_index;
  }
  return seen_size_;
}

Result<Reader::Table*> Reader::table_of(uint64_t index) {
  auto after = std::upper_bound(segments_.begin(), segments_.end(), SegmentName{index, UINT32_MAX});
  if (after == segments_.begin())
    return Error{Code::kCorrupt, "entry " + std::to_string(index) + ": no segment holds it"};
  SegmentName name = *std::prev(after);
  uint64_t limit = after == segments_.end() ? UINT64_MAX : after->first_index;
  auto found = tables_.find(name);
  if (found == tables_.end()) {
    TRY(SegmentFile file, SegmentFile::open(dir_, name));
    TRY(SegmentHeader header, file.header({}));
    found = tables_.emplace(name, Table(std::move(file))).first;
  }
  TRY_STATUS(walk(found->second, std::min(limit, index + 1)));
  return &found->second;
}

// Notes the batches below `limit`, from where the last walk ended. What does not read ends it:
// whether that matters is known to who looks for an entry behind it.
Status Reader::walk(Table& table, uint64_t limit) {
  uint64_t next = table.batches.empty() ? table.file.name().first_index
                                        : table.batches.back().first + table.batches.back().count;
  if (next >= limit) return {};
  TRY_STATUS(table.file.refresh());
  while (next < limit) {
    auto frame = table.file.frame(table.walked, false);
    if (!frame.ok() && frame.error().code == Code::kCorrupt) return {};
    if (!frame.ok()) return frame.error();
    const FrameHeader& header = frame.value().header;
    if (header.type != FrameType::kBodies) {
      table.walked = frame.value().end;
      continue;
    }
    auto leaves = table.file.frame(frame.value().end, false);
    if (header.first_index != next || !leaves.ok()) return {};
    table.batches.push_back({header.first_index, header.count, frame.value().offset});
    table.walked = leaves.value().end;
    next += header.count;
  }
  return {};
}

Status Reader::decode(const Table& table, const BatchPlace& place) {
  if (decoded_ && decoded_->first == place.first) return {};
  auto decoded = std::make_unique<Decoded>();
  auto bodies = table.file.frame(place.offset, true);
  if (!bodies.ok()) return table.file.damage(place.offset, place.first, bodies.error().message);
  uint64_t offset = bodies.value().end;
  auto leaves = table.file.frame(offset, true);
  if (!leaves.ok()) return table.file.damage(offset, place.first, leaves.error().message);
  auto body_parts =
      decode_parts(bodies.value().header, bodies.value().payload, decoded->plain_bodies);
  if (!body_parts.ok())
    return table.file.damage(place.offset, place.first, body_parts.error().message);
  auto leaf_parts =
      decode_parts(leaves.value().header, leaves.value().payload, decoded->plain_leaves);
  if (!leaf_parts.ok()) return table.file.damage(offset, place.first, leaf_parts.error().message);
  if (leaves.value().header.type != FrameType::kLeaves ||
      leaf_parts.value().size() != place.count ||
      leaves.value().header.first_index != place.first || body_parts.value().size() != place.count)
    return table.file.damage(offset, place.first, "the leaves of these bodies are not here");
  decoded->bodies = std::move(body_parts.value());
  decoded->leaves = std::move(leaf_parts.value());
  decoded->first = place.first;
  decoded_ = std::move(decoded);
  return {};
}

Result<Record> Reader::read(uint64_t index) {
  if (index >= seen_size_) {
    TRY(uint64_t now, size());
    if (index >= now)
      return Error{Code::kNotFound, "the trail has " + std::to_string(now) +
                                        " entries; there is no entry " + std::to_string(index)};
  }
  TRY(Table * table, table_of(index));
  auto after = std::upper_bound(table->batches.begin(), table->batches.end(), index,
                                [](uint64_t i, const BatchPlace& b) { return i < b.first; });
  if (after == table->batches.begin() || index >= std::prev(after)->first + std::prev(after)->count)
    return table->file.damage(table->walked, index, "the entry cannot be found");
  const BatchPlace& place = *std::prev(after);
  TRY_STATUS(decode(*table, place));
  auto record = open_record(index, decoded_->leaves[index - place.first],
                            decoded_->bodies[index - place.first]);
  if (!record.ok()) return table->file.damage(place.offset, index, record.error().message);
  return record;
}

Status Reader::select_scanning(const LogQuery& query, uint64_t from, uint64_t to, uint64_t limit,
                               std::vector<uint64_t>& found) {
  for (uint64_t index = to; index-- > from && found.size() < limit;) {
    TRY(Record record, read(index));
    if (matches(query, record)) found.push_back(index);
  }
  return {};
}

// Indexes of the answer, newest first.
Result<std::vector<uint64_t>> Reader::select(const LogQuery& query, uint64_t size) {
  uint64_t limit = query.limit() ? query.limit() : kDefaultLimit;
  uint64_t from = query.after_set() ? std::min(query.after_index(), UINT64_MAX - 1) + 1 : 0;
  IndexView view = options_.use_index ? IndexView::open(dir_) : IndexView();
  uint64_t covered = view.covered() <= size ? view.covered() : 0;
  std::vector<uint64_t> found;
  TRY_STATUS(select_scanning(query, std::max(from, covered), size, limit, found));
  uint64_t before = covered;
  while (before > from && found.size() < limit) {
    uint64_t wanted = query.grep().empty() ? limit - found.size() : kCandidatesAtOnce;
    TRY(std::vector<uint64_t> candidates, view.newest(query, before, wanted));
    if (candidates.empty()) break;
    for (uint64_t index : candidates) {
      if (found.size() == limit) break;
      if (query.grep().empty()) {
        found.push_back(index);
        continue;
      }
      TRY(Record record, read(index));
      if (matches(query, record)) found.push_back(index);
    }
    before = candidates.back();
  }
  return found;
}

Status Reader::query(const LogQuery& query, const std::function<Status(Record)>& each) {
  TRY(uint64_t now, size());
  TRY(std::vector<uint64_t> found, select(query, now));
  std::reverse(found.begin(), found.end());
  for (uint64_t index : found) {
    TRY(Record record, read(index));
    if (!matches(query, record))
      return Error{Code::kCorrupt,
                   "index: the row of entry " + std::to_string(index) +
                       " is not what the record says; delete index/ to have it made again"};
    if (query.summary()) leave_bodies_out(record);
    TRY_STATUS(each(std::move(record)));
  }
  return {};
}

Result<std::vector<Record>> Reader::query(const LogQuery& query_) {
  std::vector<Record> records;
  TRY_STATUS(query(query_, [&](Record record) -> Status {
    records.push_back(std::move(record));
    return {};
  }));
  return records;
}

}  // namespace infertrail::trail
