#include "trail/segment_file.h"

#include <errno.h>

#include "base/file.h"

namespace infertrail::trail {

Result<SegmentFile> SegmentFile::open(const std::string& trail_dir, const SegmentName& name) {
  std::string path = trail_dir + "/" + name.path();
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return system_error("open", path, errno);
  TRY(uint64_t size, file_size(fd.get(), path));
  return SegmentFile(name, std::move(path), std::move(fd), size);
}

Status SegmentFile::refresh() {
  TRY(size_, file_size(fd_.get(), path_));
  return {};
}

Result<SegmentHeader> SegmentFile::header(const std::string& log) const {
  TRY(std::string raw, bytes(0, kSegmentHeaderBytes));
  auto header = decode_header(raw);
  if (!header.ok()) return wrap(header.error(), name_.path());
  if (header.value().first_index != name_.first_index)
    return Error{Code::kInvalid, name_.path() + ": its header says that it begins at entry " +
                                     std::to_string(header.value().first_index)};
  if (!log.empty() && header.value().log != log)
    return Error{Code::kInvalid, name_.path() + ": belongs to another log"};
  return header;
}

Result<Frame> SegmentFile::frame(uint64_t offset, bool with_payload) const {
  TRY(std::string raw, bytes(offset, kFrameHeaderBytes));
  TRY(FrameHeader header, decode_frame_header(raw));
  Frame frame{header, offset, offset + kFrameHeaderBytes + header.stored_bytes, {}};
  if (frame.end > size_) return Error{Code::kCorrupt, "the frame is cut off"};
  if (!with_payload) return frame;
  TRY(frame.payload, bytes(offset + kFrameHeaderBytes, header.stored_bytes));
  if (frame.payload.size() != header.stored_bytes)
    return Error{Code::kCorrupt, "the frame is cut off"};
  TRY_STATUS(check_frame(raw, frame.payload));
  return frame;
}

Result<std::string> SegmentFile::bytes(uint64_t offset, uint64_t count) const {
  std::string out;
  TRY_STATUS(pread_some(fd_.get(), offset, count, path_, out));
  return out;
}

Error SegmentFile::damage(uint64_t offset, uint64_t entry, const std::string& what) const {
  return {Code::kCorrupt, name_.path() + ": offset " + std::to_string(offset) + " (entry " +
                              std::to_string(entry) + "): " + what};
}

}  // namespace infertrail::trail
