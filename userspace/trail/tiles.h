// C2SP tlog-tiles: the tree cut into files of 256 hashes, and the entries into bundles of 256, so
// that any static file server can serve the log. Format source: c2sp.org/tlog-tiles,
// docs/formats.md.
//
// A tile of level L and number n holds the roots of 256 subtrees of 256^L leaves each. A width
// below 256 makes it partial: "<path>.p/<width>". Thread: none. Owner: TileBuilder belongs to its
// caller.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "trail/merkle.h"

namespace infertrail::trail {

inline constexpr uint32_t kTileWidth = 256;
inline constexpr size_t kMaxEntryBytes = 65535;  // the bundle's length prefix has 16 bits

// Paths below the log's directory; width 256 is the full tile.
std::string tile_path(uint32_t level, uint64_t number, uint32_t width);
std::string bundle_path(uint64_t number, uint32_t width);

// The partial bundle and tiles that a tree of this size has: those of TileBuilder::partials().
std::vector<std::string> partial_paths(uint64_t size);

// uint16 big-endian length || entry.
void append_bundle_entry(std::string& bundle, std::string_view entry);
// The entries of a bundle; views into it. An error says at which byte it is wrong.
Result<std::vector<std::string_view>> split_bundle(std::string_view bundle);

struct TileFile {
  std::string path;
  std::string bytes;
  uint64_t size = 0;  // smallest tree size for which the file must exist
};

// Grows by one entry at a time and gives the files of the log as they come to be.
class TileBuilder {
 public:
  // Appends to `completed` the full bundle and the full tiles that this entry finishes.
  void append(std::string_view entry, const Hash& leaf, std::vector<TileFile>& completed);

  // The partial bundle and the partial tiles of the current size: with the completed files, all
  // that a tree of this size consists of.
  std::vector<TileFile> partials() const;

  uint64_t size() const { return range_.size(); }
  Hash root() const { return range_.root(); }

 private:
  void push(size_t level, const Hash& hash, std::vector<TileFile>& completed);

  struct Level {
    std::vector<Hash> hashes;  // of the tile that is not full yet
    uint64_t number = 0;       // of that tile
  };
  std::vector<Level> levels_;
  std::string bundle_;
  CompactRange range_;
};

}  // namespace infertrail::trail
