#include "trail/segment.h"

#include <zstd.h>

#include <algorithm>

#include "base/crc32c.h"
#include "base/file.h"
#include "base/owned.h"
#include "trail/encoding.h"
#include "trail/merkle.h"
#include "trail/tiles.h"

namespace infertrail::trail {
namespace {

constexpr std::string_view kSegmentMagic("ITSEG1\0\0", 8);
constexpr std::string_view kFrameMagic("ITFR", 4);
constexpr int kCompressionLevel = 3;

Error damaged(const std::string& what) {
  return {Code::kCorrupt, what};
}

// Compresses parts into one zstd frame at the end of `out` without joining them first: a batch may
// be one body of a hundred megabytes.
class Compressor {
 public:
  Compressor(std::string& out, uint64_t plain_bytes) : out_(out), context_(ZSTD_createCCtx()) {
    IT_CHECK(context_ != nullptr);
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, kCompressionLevel);
    ZSTD_CCtx_setPledgedSrcSize(context_.get(), plain_bytes);
  }

  Status add(std::string_view part) { return run(part, ZSTD_e_continue); }
  Status finish() { return run({}, ZSTD_e_end); }

 private:
  Status run(std::string_view part, ZSTD_EndDirective directive) {
    ZSTD_inBuffer in{part.data(), part.size(), 0};
    for (;;) {
      char block[65536];
      ZSTD_outBuffer space{block, sizeof block, 0};
      size_t left = ZSTD_compressStream2(context_.get(), &space, &in, directive);
      if (ZSTD_isError(left))
        return Error{Code::kExhausted, std::string("compress: ") + ZSTD_getErrorName(left)};
      out_.append(block, space.pos);
      if (directive == ZSTD_e_end ? left == 0 : in.pos == in.size) return {};
    }
  }

  std::string& out_;
  Owned<ZSTD_CCtx, ZSTD_freeCCtx> context_;
};

std::string length_prefix(FrameType type, size_t length) {
  std::string prefix;
  if (type == FrameType::kBodies) {
    put_le(prefix, static_cast<uint32_t>(length));
  } else {
    prefix.push_back(static_cast<char>(length >> 8));
    prefix.push_back(static_cast<char>(length & 0xff));
  }
  return prefix;
}

std::string encode_frame_header(const FrameHeader& header) {
  std::string bytes(kFrameMagic);
  put_le(bytes, static_cast<uint8_t>(header.type));
  put_le(bytes, static_cast<uint8_t>(0));
  put_le(bytes, static_cast<uint16_t>(0));
  put_le(bytes, header.stored_bytes);
  put_le(bytes, header.plain_bytes);
  put_le(bytes, header.first_index);
  put_le(bytes, header.count);
  return bytes;  // 28 bytes; the crc follows
}

// Fills in the header that was left free at `start`, now that the payload behind it is known.
Status seal_frame(std::string& out, size_t start, FrameHeader header) {
  std::string_view payload = std::string_view(out).substr(start + kFrameHeaderBytes);
  if (payload.size() > kMaxFrameBytes)
    return Error{Code::kExhausted, "a frame of " + std::to_string(payload.size()) +
                                       " bytes is larger than the format allows"};
  header.stored_bytes = static_cast<uint32_t>(payload.size());
  std::string bytes = encode_frame_header(header);
  put_le(bytes, crc32c(payload, crc32c(bytes)));
  out.replace(start, kFrameHeaderBytes, bytes);
  return {};
}

Status append_parts_frame(std::string& out, FrameType type, uint64_t first,
                          const std::vector<std::string_view>& parts) {
  IT_CHECK(!parts.empty() && parts.size() <= kMaxBatchEntries);
  size_t prefix = type == FrameType::kBodies ? 4 : 2;
  uint64_t plain = 0;
  for (std::string_view part : parts) plain += prefix + part.size();
  if (plain > kMaxFrameBytes)
    return Error{Code::kExhausted, "a batch of " + std::to_string(plain) + " bytes is too large"};
  size_t start = out.size();
  out.append(kFrameHeaderBytes, '\0');
  Compressor compressor(out, plain);
  for (std::string_view part : parts) {
    TRY_STATUS(compressor.add(length_prefix(type, part.size())));
    TRY_STATUS(compressor.add(part));
  }
  TRY_STATUS(compressor.finish());
  return seal_frame(
      out, start,
      {type, 0, static_cast<uint32_t>(plain), first, static_cast<uint32_t>(parts.size()), 0});
}

}  // namespace

std::string SegmentName::path() const {
  std::string name = "segments/seg-" + twenty_digits(first_index);
  if (attempt > 0) name += "." + std::to_string(attempt);
  return name + ".its";
}

Result<SegmentName> SegmentName::parse(const std::string& file) {
  Error wrong{Code::kInvalid, "segments/" + file + ": is not a segment of a trail"};
  if (file.size() < 28) return wrong;
  SegmentName name;
  auto digits = std::string_view(file).substr(4, 20);
  std::from_chars(digits.data(), digits.data() + digits.size(), name.first_index);
  std::string_view rest = std::string_view(file).substr(24);
  if (rest.size() > 5 && rest[0] == '.') {
    auto attempt = canonical_number(rest.substr(1, rest.size() - 5));
    if (!attempt || *attempt > UINT32_MAX) return wrong;
    name.attempt = static_cast<uint32_t>(*attempt);
  }
  if (name.path() != "segments/" + file) return wrong;
  return name;
}

Result<std::vector<SegmentName>> list_segments(const std::string& trail_dir) {
  TRY(auto files, list_dir(trail_dir + "/segments"));
  std::vector<SegmentName> names;
  for (const std::string& file : files) {
    TRY(SegmentName name, SegmentName::parse(file));
    names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string log_id(std::string_view origin) {
  return std::string(bytes_of(sha256(origin)).substr(0, 16));
}

std::string encode_header(const SegmentHeader& header) {
  std::string bytes(kSegmentMagic);
  put_le(bytes, kSegmentVersion);
  put_le(bytes, static_cast<uint16_t>(0));
  put_le(bytes, static_cast<uint32_t>(0));
  bytes += header.log;
  put_le(bytes, header.first_index);
  put_le(bytes, header.epoch);
  put_le(bytes, header.created_ns);
  put_le(bytes, static_cast<uint32_t>(0));
  put_le(bytes, crc32c(bytes));
  IT_CHECK(bytes.size() == kSegmentHeaderBytes);
  return bytes;
}

Result<SegmentHeader> decode_header(std::string_view bytes) {
  if (bytes.size() < kSegmentHeaderBytes) return damaged("the header is cut off");
  bytes = bytes.substr(0, kSegmentHeaderBytes);
  if (bytes == std::string(kSegmentHeaderBytes, '\0')) return damaged("the header is all zero");
  if (!bytes.starts_with(kSegmentMagic))
    return Error{Code::kInvalid, "is not a segment of a trail (foreign magic)"};
  if (crc32c(bytes.substr(0, 60)) != get_le<uint32_t>(bytes, 60))
    return damaged("the header's crc differs");
  if (get_le<uint16_t>(bytes, 8) != kSegmentVersion)
    return Error{Code::kUnsupported, "is of format version " +
                                         std::to_string(get_le<uint16_t>(bytes, 8)) +
                                         ", this program knows 1; use a newer infertrail"};
  if (get_le<uint16_t>(bytes, 10) != 0 || get_le<uint32_t>(bytes, 12) != 0 ||
      get_le<uint32_t>(bytes, 56) != 0)
    return damaged("reserved header bytes are not zero");
  return SegmentHeader{std::string(bytes.substr(16, 16)), get_le<uint64_t>(bytes, 32),
                       get_le<uint64_t>(bytes, 40), get_le<uint64_t>(bytes, 48)};
}

Status append_bodies_frame(std::string& out, uint64_t first,
                           const std::vector<std::string_view>& bodies) {
  return append_parts_frame(out, FrameType::kBodies, first, bodies);
}

Status append_leaves_frame(std::string& out, uint64_t first,
                           const std::vector<std::string_view>& leaves) {
  for (std::string_view leaf : leaves) IT_CHECK(leaf.size() <= kMaxEntryBytes);
  return append_parts_frame(out, FrameType::kLeaves, first, leaves);
}

Status append_checkpoint_frame(std::string& out, uint64_t size, std::string_view note) {
  size_t start = out.size();
  out.append(kFrameHeaderBytes, '\0');
  out += note;
  return seal_frame(out, start,
                    {FrameType::kCheckpoint, 0, static_cast<uint32_t>(note.size()), size, 1, 0});
}

Result<FrameHeader> decode_frame_header(std::string_view bytes) {
  if (bytes.size() < kFrameHeaderBytes) return damaged("a frame's header is cut off");
  if (!bytes.starts_with(kFrameMagic)) return damaged("no frame begins here");
  uint8_t type = get_le<uint8_t>(bytes, 4);
  FrameHeader header{static_cast<FrameType>(type), get_le<uint32_t>(bytes, 8),
                     get_le<uint32_t>(bytes, 12),  get_le<uint64_t>(bytes, 16),
                     get_le<uint32_t>(bytes, 24),  get_le<uint32_t>(bytes, 28)};
  if (type < 1 || type > 3) return damaged("a frame has the unknown type " + std::to_string(type));
  if (get_le<uint8_t>(bytes, 5) != 0 || get_le<uint16_t>(bytes, 6) != 0)
    return damaged("reserved bytes of a frame are not zero");
  if (header.stored_bytes > kMaxFrameBytes || header.plain_bytes > kMaxFrameBytes)
    return damaged("a frame claims more bytes than the format allows");
  if (header.count == 0 || header.count > kMaxBatchEntries ||
      header.first_index > UINT64_MAX - kMaxBatchEntries)
    return damaged("a frame has an impossible count");
  return header;
}

Status check_frame(std::string_view header32, std::string_view payload) {
  if (crc32c(payload, crc32c(header32.substr(0, 28))) != get_le<uint32_t>(header32, 28))
    return damaged("crc differs");
  return {};
}

Result<std::vector<std::string_view>> decode_parts(const FrameHeader& header,
                                                   std::string_view payload, std::string& plain) {
  // The size is compared before memory is taken: a frame cannot make us allocate what it only
  // claims.
  if (ZSTD_getFrameContentSize(payload.data(), payload.size()) != header.plain_bytes)
    return damaged("the compressed size differs from the frame's header");
  plain.resize(header.plain_bytes);
  size_t got = ZSTD_decompress(plain.data(), plain.size(), payload.data(), payload.size());
  if (ZSTD_isError(got) || got != plain.size()) return damaged("the payload does not decompress");
  size_t prefix = header.type == FrameType::kBodies ? 4 : 2;
  std::vector<std::string_view> parts;
  std::string_view bytes = plain;
  while (!bytes.empty()) {
    if (bytes.size() < prefix) return damaged("a part's length is cut off");
    uint64_t length = prefix == 4
                          ? get_le<uint32_t>(bytes, 0)
                          : (static_cast<uint8_t>(bytes[0]) << 8) + static_cast<uint8_t>(bytes[1]);
    if (length > bytes.size() - prefix) return damaged("a part is longer than its frame");
    parts.push_back(bytes.substr(prefix, length));
    bytes.remove_prefix(prefix + length);
  }
  if (parts.size() != header.count)
    return damaged("a frame holds another number of parts than it says");
  return parts;
}

size_t find_frame_magic(std::string_view bytes, size_t from) {
  return bytes.find(kFrameMagic, from);
}

}  // namespace infertrail::trail
