// From sequenced to published: keeps the tree, and on demand signs its root, stores the checkpoint
// in the segment, writes the tiles and last of all the file `checkpoint`. Each step is durable
// before the next begins. Thread: the writer's. Owner: borrows sequencer, key and file operations.
#pragma once

#include <string>
#include <vector>

#include "base/ed25519.h"
#include "base/file.h"
#include "base/result.h"
#include "trail/recovery.h"
#include "trail/sequencer.h"
#include "trail/tile_store.h"

namespace infertrail::trail {

class Publisher {
 public:
  Publisher(const std::string& trail_dir, std::string origin, const Ed25519Key& key,
            Sequencer& sequencer, const FileOps& ops, Recovered recovered);

  // A sequenced entry.
  void append(std::string_view leaf);

  // Publishes all sequenced entries; after an error the next call tries again.
  Status publish();

  bool behind() const { return !published_ || published_->size != builder_.size(); }
  uint64_t size() const { return builder_.size(); }
  // The newest published checkpoint; size 0 before the first.
  Checkpoint published() const {
    return published_ ? *published_ : Checkpoint{origin_, 0, sha256("")};
  }
  // Of files that wait for the next publish().
  size_t pending_bytes() const { return pending_bytes_; }

 private:
  Status remove_superseded(const std::vector<TileFile>& partials);

  const std::string dir_, origin_;
  const Ed25519Key& key_;
  Sequencer& sequencer_;
  const FileOps& ops_;
  TileStore store_;
  TileBuilder builder_;
  std::optional<Checkpoint> published_;
  std::vector<TileFile> pending_;
  size_t pending_bytes_ = 0;
  std::vector<std::string> partials_;  // on disk, of published sizes
};

}  // namespace infertrail::trail
