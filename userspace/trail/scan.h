// Reads the segments of a trail in order and gives its batches, whole and contiguous. Tells a torn
// tail (written, never acknowledged) from damage to acknowledged entries:
//   - in a segment that has a successor, everything from the successor's first index on is
//   abandoned;
//   - in the last segment, what does not read is torn unless a later frame shows that it had been
//     acknowledged before that frame was written.
// Used by the writer's start, the reader and the verifier. Thread: one at a time; other threads and
// processes may write meanwhile.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "trail/segment_file.h"

namespace infertrail::trail {

struct Batch {
  SegmentName segment;
  uint64_t bodies_offset = 0;  // of the bodies frame; the leaves frame follows it
  uint64_t leaves_offset = 0;
  uint64_t first_index = 0;
  std::vector<std::string_view> leaves;  // entries of the tree
  std::vector<std::string_view> bodies;  // serialized records; empty unless asked for
};

struct CheckpointFrame {
  SegmentName segment;
  uint64_t offset = 0;
  uint64_t size = 0;
  std::string_view note;
};

struct TornTail {
  SegmentName segment;
  uint64_t offset = 0;
  uint64_t bytes = 0;       // to the end of the file
  uint64_t next_index = 0;  // the first index that is not in this segment
  uint64_t frames = 0;      // whole batches and checkpoints before it, in all segments read
  std::string what;
};

struct ScanOptions {
  std::string log;                    // 16 bytes, or empty: of any log
  uint64_t from_index = 0;            // batches that end at or before it are not given
  uint64_t until_index = UINT64_MAX;  // stops before the batch that begins here or later
  bool bodies = false;  // read, check and give bodies; else only the last segment's are checked
};

// The views are valid during the call. An error ends the scan and is its result.
struct ScanVisitor {
  std::function<Status(const Batch&)> batch = nullptr;
  std::function<Status(const CheckpointFrame&)> checkpoint = nullptr;
};

struct ScanEnd {
  uint64_t next_index = 0;            // entries found in total
  uint64_t bytes = 0;                 // of all segments read
  uint64_t frames = 0;                // batches and checkpoints
  std::vector<SegmentName> segments;  // read
  std::vector<TornTail> torn;         // in order of segments
};

Result<ScanEnd> scan_log(const std::string& trail_dir, const ScanOptions& options,
                         const ScanVisitor& visitor);

}  // namespace infertrail::trail
