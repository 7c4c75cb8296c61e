// Appends group commits to the current segment and makes them durable: the only code that writes
// segments. A failed write or fdatasync seals the segment as it is (after a failed fdatasync the
// page may be gone, so it is never tried again on that file); the next commit opens a new one, and
// before it anything the caller must have committed the notes() of what was left behind. Thread:
// the writer's. Owner: holds the descriptor, borrows the file operations.
#pragma once

#include <string>
#include <vector>

#include "base/file.h"
#include "base/owned.h"
#include "base/result.h"
#include "trail/segment.h"
#include "trail/torn.h"

namespace infertrail::trail {

class Sequencer {
 public:
  Sequencer(std::string trail_dir, std::string log, uint64_t segment_bytes, const FileOps& ops)
      : dir_(std::move(trail_dir)),
        log_(std::move(log)),
        segment_bytes_(segment_bytes),
        ops_(ops) {}

  // Where the next commit goes: `next_index` entries exist.
  void start(uint64_t next_index, std::vector<TornNote> notes) {
    next_index_ = next_index;
    notes_ = std::move(notes);
  }
  // Goes on in a segment that ends cleanly at `offset`.
  Status resume(const SegmentName& name, uint64_t offset);

  struct Place {
    SegmentName segment;
    uint64_t offset = 0;  // of the bodies frame
  };
  // Durable when it returns a place. After an error none of it counts; call again to retry.
  Result<Place> commit(const std::vector<std::string_view>& leaves,
                       const std::vector<std::string_view>& bodies);
  // Durable when it returns success.
  Status append_checkpoint(std::string_view note);

  uint64_t next_index() const { return next_index_; }
  // Torn tails that no recovery leaf names yet; commit those leaves, then call notes_committed().
  const std::vector<TornNote>& notes() const { return notes_; }
  void notes_committed(size_t count) { notes_.erase(notes_.begin(), notes_.begin() + count); }

 private:
  Status open_next();
  Status write(std::string& frames);
  void seal(const Error& error);

  const std::string dir_, log_;
  const uint64_t segment_bytes_;
  const FileOps& ops_;
  Fd fd_;  // invalid: the next write opens a new segment
  SegmentName name_;
  uint64_t offset_ = 0;  // everything before it is durable; 0: not even the header
  uint64_t next_index_ = 0;
  std::vector<TornNote> notes_;
};

}  // namespace infertrail::trail
