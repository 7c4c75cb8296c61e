// Segment files: what is durable. Format source: docs/formats.md section "Segment files".
//   file   = header(64) frame*
//   header = "ITSEG1\0\0" u16 version u16 zero u32 zero log(16) u64 first_index u64 epoch u64
//   created
//            u32 zero u32 crc32c(bytes 0..59)
//   frame  = u32 magic u8 type u8 flags u16 zero u32 clen u32 ulen u64 first_index u32 count
//            u32 crc32c(header without crc, payload) payload(clen)
// All integers are little-endian. Thread: none, value types and pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace infertrail::trail {

inline constexpr size_t kSegmentHeaderBytes = 64;
inline constexpr size_t kFrameHeaderBytes = 32;
inline constexpr uint16_t kSegmentVersion = 1;
inline constexpr uint32_t kMaxBatchEntries = 256;
inline constexpr uint64_t kMaxRecordBytes = 512ull
                                            << 20;  // serialized; more is refused by append()
inline constexpr uint64_t kMaxFrameBytes = kMaxRecordBytes + (16ull << 20);

// segments/seg-<first index>.its; a second file that begins at the same index, made after the first
// one failed before it held an entry, has ".<attempt>" before ".its".
struct SegmentName {
  uint64_t first_index = 0;
  uint32_t attempt = 0;

  std::string path() const;  // below the trail's directory
  static Result<SegmentName> parse(const std::string& file);
  auto operator<=>(const SegmentName&) const = default;
};

// The segments of a trail in order. A file that is not a segment is an error that names it.
Result<std::vector<SegmentName>> list_segments(const std::string& trail_dir);

struct SegmentHeader {
  std::string log;  // 16 bytes: SHA-256(origin)[:16]
  uint64_t first_index = 0;
  uint64_t epoch = 0;       // 0 until forward-secure epochs exist
  uint64_t created_ns = 0;  // UNIX time
};
std::string log_id(std::string_view origin);
std::string encode_header(const SegmentHeader& header);
// kInvalid: not a segment at all; kUnsupported: of a newer version; kCorrupt: damaged.
Result<SegmentHeader> decode_header(std::string_view bytes);

enum class FrameType : uint8_t { kLeaves = 1, kBodies = 2, kCheckpoint = 3 };

struct FrameHeader {
  FrameType type = FrameType::kLeaves;
  uint32_t stored_bytes = 0;  // of the payload in the file
  uint32_t plain_bytes = 0;   // after decompression
  uint64_t first_index = 0;   // of a checkpoint: its size
  uint32_t count = 0;         // of a checkpoint: 1
  uint32_t crc = 0;
};

// Appends a whole frame to `out`. Bodies: u32 length || bytes, each; leaves: u16 big-endian length
// || bytes, each (as an entry bundle); both zstd. A checkpoint's note is stored as it is.
Status append_bodies_frame(std::string& out, uint64_t first,
                           const std::vector<std::string_view>& bodies);
Status append_leaves_frame(std::string& out, uint64_t first,
                           const std::vector<std::string_view>& leaves);
Status append_checkpoint_frame(std::string& out, uint64_t size, std::string_view note);

// The fields of 32 bytes, checked for what can be checked without the payload.
Result<FrameHeader> decode_frame_header(std::string_view bytes);
Status check_frame(std::string_view header32, std::string_view payload);  // crc
// The parts of a bodies or leaves frame, whole. `plain` holds the bytes that the views point into.
Result<std::vector<std::string_view>> decode_parts(const FrameHeader& header,
                                                   std::string_view payload, std::string& plain);

// The position of a frame's magic in `bytes` at or after `from`, or npos.
size_t find_frame_magic(std::string_view bytes, size_t from);

}  // namespace infertrail::trail
