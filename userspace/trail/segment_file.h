// One segment file opened for reading, frame by frame. kCorrupt means that the bytes are wrong; kIo
// that the system did not give them, which says nothing about them.
// Thread: one at a time. Owner: holds the descriptor.
#pragma once

#include <cstdint>
#include <string>

#include "base/owned.h"
#include "base/result.h"
#include "trail/segment.h"

namespace infertrail::trail {

struct Frame {
  FrameHeader header;
  uint64_t offset = 0;
  uint64_t end = 0;     // of the payload: where the next frame begins
  std::string payload;  // as stored; empty unless asked for
};

class SegmentFile {
 public:
  static Result<SegmentFile> open(const std::string& trail_dir, const SegmentName& name);

  const SegmentName& name() const { return name_; }
  uint64_t size() const { return size_; }  // when opened, or at the last refresh()
  Status refresh();

  // The header, checked against the file's name and, when not empty, against the log's id.
  Result<SegmentHeader> header(const std::string& log) const;

  // The frame at `offset`. Without payload its crc is not checked.
  Result<Frame> frame(uint64_t offset, bool with_payload) const;
  Result<std::string> bytes(uint64_t offset, uint64_t count) const;

  // "segments/seg-….its: offset 4711 (entry 123): crc differs"
  Error damage(uint64_t offset, uint64_t entry, const std::string& what) const;

 private:
  SegmentFile(SegmentName name, std::string path, Fd fd, uint64_t size)
      : name_(name), path_(std::move(path)), fd_(std::move(fd)), size_(size) {}

  SegmentName name_;
  std::string path_;
  Fd fd_;
  uint64_t size_;
};

}  // namespace infertrail::trail
