// The published files of a trail on disk: tiles, bundles, checkpoint. They can be made again from
// the segments at any time; here they are written so that a checkpoint never refers to a tile that
// a power loss could take away. Thread: the writer's. Owner: borrows the file operations.
#pragma once

#include <string>
#include <vector>

#include "base/file.h"
#include "base/result.h"
#include "trail/tiles.h"

namespace infertrail::trail {

class TileStore {
 public:
  TileStore(std::string trail_dir, const FileOps& ops) : dir_(std::move(trail_dir)), ops_(ops) {}

  // Writes all files; when it returns they and their names are durable.
  Status put(const std::vector<TileFile>& files);

  // Is the file there with these bytes? kCorrupt when it is there with others.
  Result<bool> has(const TileFile& file) const;

  // Removes the given partial files, and directories that are empty then. Files that are already
  // gone are fine.
  Status remove(const std::vector<std::string>& paths);

  // Every file below tile/, as paths below the trail's directory, sorted.
  Result<std::vector<std::string>> list() const;

 private:
  Status write_temporary(const TileFile& file, bool sync);

  const std::string dir_;
  const FileOps& ops_;
};

// Left over by a writer that died between writing and renaming; not part of the log.
bool is_temporary(const std::string& path);
// "….p/<width>"
bool is_partial(const std::string& path);

}  // namespace infertrail::trail
