// What a writer does before its first append: reads every leaf, recomputes the tree, compares it
// with what was published, makes missing tiles again and finds torn tails. Reads all leaves at
// every start: linear in the number of entries (about a second per million); bodies are read of the
// last segment only. Thread: the starting one, before the writer's thread exists.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "trail/checkpoint.h"
#include "trail/tiles.h"
#include "trail/torn.h"

namespace infertrail::trail {

struct Recovered {
  TileBuilder builder;                  // of all sequenced entries
  std::optional<Checkpoint> published;  // nothing: never published
  std::vector<std::string> partials;    // paths of the partial files of the published size
  std::vector<TornNote> torn;           // must be named by recovery records before anything else
  std::optional<std::pair<SegmentName, uint64_t>>
      resume;  // a last segment that ends cleanly, and where
};

// Refuses (kCorrupt, with what to do) when segments, tiles and checkpoint do not agree.
Result<Recovered> recover_trail(const std::string& trail_dir, const VerifierKey& key,
                                const FileOps& ops);

}  // namespace infertrail::trail
