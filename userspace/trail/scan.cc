#include "trail/scan.h"

#include <algorithm>
#include <optional>

namespace infertrail::trail {
namespace {

class Scan {
 public:
  Scan(const std::string& dir, const ScanOptions& options, const ScanVisitor& visitor)
      : dir_(dir), options_(options), visitor_(visitor) {}

  Result<ScanEnd> run() {
    TRY(std::vector<SegmentName> names, list_segments(dir_));
    TRY_STATUS(choose_first(names));
    for (size_t i = first_; i < names.size() && !stopped_; i++) {
      limit_ = i + 1 < names.size() ? names[i + 1].first_index : UINT64_MAX;
      last_ = i + 1 == names.size();
      TRY_STATUS(segment(names[i]));
    }
    return std::move(end_);
  }

 private:
  Status choose_first(const std::vector<SegmentName>& names) {
    if (names.empty()) return {};
    if (names[0].first_index != 0)
      return Error{Code::kCorrupt, names[0].path() + ": is the oldest segment, but entries 0 to " +
                                       std::to_string(names[0].first_index - 1) + " are missing"};
    auto after =
        std::upper_bound(names.begin(), names.end(), SegmentName{options_.from_index, UINT32_MAX});
    uint64_t first_index = std::prev(after)->first_index;
    first_ =
        std::lower_bound(names.begin(), names.end(), SegmentName{first_index, 0}) - names.begin();
    end_.next_index = first_index;
    return {};
  }

  Status segment(const SegmentName& name) {
    TRY(SegmentFile file, SegmentFile::open(dir_, name));
    end_.segments.push_back(name);
    end_.bytes += file.size();
    if (name.first_index != end_.next_index)
      return Error{Code::kCorrupt, name.path() + ": begins at entry " +
                                       std::to_string(name.first_index) + ", expected entry " +
                                       std::to_string(end_.next_index)};
    auto header = file.header(options_.log);
    if (!header.ok() && header.error().code != Code::kCorrupt) return header.error();
    if (!header.ok()) return torn(file, 0, header.error().message.substr(name.path().size() + 2));
    uint64_t offset = kSegmentHeaderBytes;
    while (offset < file.size() && !stopped_) {
      TRY(std::optional<uint64_t> next, frame(file, offset));
      if (!next) return {};  // a torn tail was noted
      offset = *next;
    }
    if (!stopped_ && !last_ && end_.next_index != limit_)
      return file.damage(
          offset, end_.next_index,
          "the segment ends here, but the next one begins at entry " + std::to_string(limit_));
    return {};
  }

  // Handles the frame or batch at `offset`; where the next one begins, or nothing after a torn
  // tail.
  Result<std::optional<uint64_t>> frame(const SegmentFile& file, uint64_t offset) {
    auto head = file.frame(offset, false);
    if (!head.ok()) return failed(file, offset, head.error());
    const FrameHeader& header = head.value().header;
    if (header.type == FrameType::kCheckpoint) return checkpoint(file, offset);
    if (header.type == FrameType::kLeaves)
      return file.damage(offset, header.first_index, "leaves without their bodies");
    if (header.first_index >= limit_) return failed(file, offset, {Code::kCorrupt, "abandoned"});
    return batch(file, head.value());
  }

  Result<std::optional<uint64_t>> checkpoint(const SegmentFile& file, uint64_t offset) {
    auto frame = file.frame(offset, true);
    if (!frame.ok()) return failed(file, offset, frame.error());
    const FrameHeader& header = frame.value().header;
    if (header.first_index != end_.next_index || header.plain_bytes != header.stored_bytes ||
        header.count != 1)
      return file.damage(offset, end_.next_index,
                         "a checkpoint of " + std::to_string(header.first_index) +
                             " entries stands after " + std::to_string(end_.next_index) +
                             " entries");
    if (visitor_.checkpoint && header.first_index >= options_.from_index)
      TRY_STATUS(
          visitor_.checkpoint({file.name(), offset, header.first_index, frame.value().payload}));
    end_.frames++;
    return std::optional(frame.value().end);
  }

  Result<std::optional<uint64_t>> batch(const SegmentFile& file, const Frame& head) {
    const FrameHeader& bodies = head.header;
    uint64_t next = bodies.first_index + bodies.count;
    bool wanted = next > options_.from_index;
    bool check = wanted && (options_.bodies || last_);
    auto body = file.frame(head.offset, check);
    if (!body.ok()) return failed(file, head.offset, body.error());
    auto leaf = file.frame(head.end, wanted);
    if (!leaf.ok()) return failed(file, head.offset, leaf.error());
    const FrameHeader& leaves = leaf.value().header;
    if (leaves.type != FrameType::kLeaves || leaves.first_index != bodies.first_index ||
        leaves.count != bodies.count)
      return failed(file, head.end, {Code::kCorrupt, "the leaves of these bodies are not here"});
    if (bodies.first_index != end_.next_index || next > limit_)
      return file.damage(head.offset, end_.next_index,
                         "entry " + std::to_string(bodies.first_index) + " stands here");
    if (bodies.first_index >= options_.until_index) {
      stopped_ = true;
      return std::optional(leaf.value().end);
    }
    if (wanted) TRY_STATUS(give(file, body.value(), leaf.value()));
    end_.next_index = next;
    end_.frames++;
    return std::optional(leaf.value().end);
  }

  Status give(const SegmentFile& file, const Frame& body, const Frame& leaf) {
    if (!visitor_.batch) return {};
    Batch batch{file.name(), body.offset, leaf.offset, body.header.first_index, {}, {}};
    auto leaves = decode_parts(leaf.header, leaf.payload, plain_leaves_);
    if (!leaves.ok()) return file.damage(leaf.offset, batch.first_index, leaves.error().message);
    batch.leaves = std::move(leaves.value());
    if (options_.bodies) {
      auto bodies = decode_parts(body.header, body.payload, plain_bodies_);
      if (!bodies.ok()) return file.damage(body.offset, batch.first_index, bodies.error().message);
      batch.bodies = std::move(bodies.value());
    }
    return visitor_.batch(batch);
  }

  Result<std::optional<uint64_t>> failed(const SegmentFile& file, uint64_t offset,
                                         const Error& error) {
    if (error.code != Code::kCorrupt) return error;
    TRY_STATUS(torn(file, offset, error.message));
    return std::optional<uint64_t>();
  }

  Status torn(const SegmentFile& file, uint64_t offset, const std::string& what) {
    if (!last_ && end_.next_index < limit_) return file.damage(offset, end_.next_index, what);
    if (last_) {
      TRY(bool acknowledged, later_frame(file, offset));
      if (acknowledged)
        return file.damage(offset, end_.next_index, what + ", and later entries follow");
    }
    end_.torn.push_back(
        {file.name(), offset, file.size() - offset, end_.next_index, end_.frames, what});
    return {};
  }

  // A whole frame behind the damage of something that came after the entry that is missing.
  Result<bool> later_frame(const SegmentFile& file, uint64_t offset) {
    TRY(std::string rest, file.bytes(offset, file.size() - offset));
    size_t at = 1;
    auto first = decode_frame_header(rest);
    if (first.ok()) {
      // When a frame stands where the damaged one ends, its payload (which clients chose) is
      // skipped.
      size_t behind = kFrameHeaderBytes + first.value().stored_bytes;
      if (behind == rest.size() || find_frame_magic(rest, behind) == behind) at = behind;
    }
    for (at = find_frame_magic(rest, at); at != std::string::npos;
         at = find_frame_magic(rest, at + 1)) {
      std::string_view here = std::string_view(rest).substr(at);
      auto header = decode_frame_header(here);
      if (!header.ok() || header.value().first_index <= end_.next_index) continue;
      std::string_view payload = here.substr(kFrameHeaderBytes);
      if (payload.size() < header.value().stored_bytes) continue;
      if (check_frame(here, payload.substr(0, header.value().stored_bytes)).ok()) return true;
    }
    return false;
  }

  const std::string& dir_;
  const ScanOptions& options_;
  const ScanVisitor& visitor_;
  size_t first_ = 0;
  uint64_t limit_ = UINT64_MAX;  // first index of the next segment
  bool last_ = false, stopped_ = false;
  std::string plain_leaves_, plain_bodies_;
  ScanEnd end_;
};

}  // namespace

Result<ScanEnd> scan_log(const std::string& trail_dir, const ScanOptions& options,
                         const ScanVisitor& visitor) {
  return Scan(trail_dir, options, visitor).run();
}

}  // namespace infertrail::trail
