// DIR/lock: one writer per trail (flock), and the number of entries that are durable, for readers
// in other processes. Content: "sequenced <20 digits>\n"; it is a hint with no value after a power
// loss, when readers find the end in the segments as the writer's recovery does. Thread: the
// writer's. Owner: holds the descriptor and with it the lock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/owned.h"
#include "base/result.h"

namespace infertrail::trail {

class WriterLock {
 public:
  // kPermission when another process (or another writer in this one) holds the trail.
  static Result<WriterLock> take(const std::string& trail_dir);
  Status set_sequenced(uint64_t size);

 private:
  explicit WriterLock(Fd fd) : fd_(std::move(fd)) {}
  Fd fd_;
};

// What a living writer says is durable; nothing when no writer holds the trail.
Result<std::optional<uint64_t>> sequenced_by_writer(const std::string& trail_dir);

}  // namespace infertrail::trail
