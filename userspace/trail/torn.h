// Torn tails and the sentence by which a `recovery` leaf names one. The sentence is part of the
// tree, so that bytes which nobody acknowledged cannot be passed off as more, or less, than they
// were.
//   torn tail of segments/seg-….its from offset 4711: 38 bytes, sha256 <64 hex>      found at a
//   start torn tail of segments/seg-….its from offset 4711: abandoned after a failed write  by a
//   running writer
// After a failed write the file's end is not known (the system may have dropped pages), so the
// second form promises nothing about the bytes. Thread: pure functions.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "trail/scan.h"

namespace infertrail::trail {

struct TornNote {
  SegmentName segment;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::string sha256;  // hex; empty: abandoned after a failed write

  std::string text() const;
  static std::optional<TornNote> parse(std::string_view text);
};

// Reads the tail and hashes it.
Result<TornNote> note_of(const std::string& trail_dir, const TornTail& tail);

// Checks that the tails and what the recovery leaves say about them agree. Gives the tails that no
// leaf names; an unnamed tail with entries behind it is damage, not a torn write: an error.
Result<std::vector<TornTail>> unnamed_tails(const std::string& trail_dir, const ScanEnd& end,
                                            const std::vector<TornNote>& notes);

}  // namespace infertrail::trail
