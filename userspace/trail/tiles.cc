#include "trail/tiles.h"

#include <cstdio>

namespace infertrail::trail {
namespace {

// Groups of three digits, all but the last with an 'x' in front: 1234067 -> x001/x234/067.
std::string number_path(uint64_t number) {
  char group[8];
  std::snprintf(group, sizeof group, "%03u", static_cast<unsigned>(number % 1000));
  std::string path = group;
  while (number >= 1000) {
    number /= 1000;
    std::snprintf(group, sizeof group, "x%03u/", static_cast<unsigned>(number % 1000));
    path.insert(0, group);
  }
  return path;
}

std::string with_width(std::string path, uint32_t width) {
  if (width < kTileWidth) path += ".p/" + std::to_string(width);
  return path;
}

std::string concatenated(const std::vector<Hash>& hashes) {
  std::string bytes;
  bytes.reserve(hashes.size() * sizeof(Hash));
  for (const Hash& hash : hashes) bytes += bytes_of(hash);
  return bytes;
}

}  // namespace

std::string tile_path(uint32_t level, uint64_t number, uint32_t width) {
  return with_width("tile/" + std::to_string(level) + "/" + number_path(number), width);
}

std::string bundle_path(uint64_t number, uint32_t width) {
  return with_width("tile/entries/" + number_path(number), width);
}

std::vector<std::string> partial_paths(uint64_t size) {
  std::vector<std::string> paths;
  if (size % kTileWidth != 0)
    paths.push_back(bundle_path(size / kTileWidth, static_cast<uint32_t>(size % kTileWidth)));
  uint32_t level = 0;
  for (uint64_t hashes = size; hashes > 0; hashes /= kTileWidth, level++)
    if (hashes % kTileWidth != 0)
      paths.push_back(
          tile_path(level, hashes / kTileWidth, static_cast<uint32_t>(hashes % kTileWidth)));
  return paths;
}

void append_bundle_entry(std::string& bundle, std::string_view entry) {
  IT_CHECK(entry.size() <= kMaxEntryBytes);
  bundle.push_back(static_cast<char>(entry.size() >> 8));
  bundle.push_back(static_cast<char>(entry.size() & 0xff));
  bundle += entry;
}

Result<std::vector<std::string_view>> split_bundle(std::string_view bundle) {
  std::vector<std::string_view> entries;
  size_t at = 0;
  while (at < bundle.size()) {
    size_t length = bundle.size() - at < 2 ? SIZE_MAX
                                           : (static_cast<uint8_t>(bundle[at]) << 8) +
                                                 static_cast<uint8_t>(bundle[at + 1]);
    if (length > bundle.size() - at - 2 || length == SIZE_MAX)
      return Error{Code::kCorrupt, "byte " + std::to_string(at) + ": the entry is cut off"};
    entries.push_back(bundle.substr(at + 2, length));
    at += 2 + length;
  }
  return entries;
}

void TileBuilder::append(std::string_view entry, const Hash& leaf,
                         std::vector<TileFile>& completed) {
  append_bundle_entry(bundle_, entry);
  range_.append(leaf);
  if (size() % kTileWidth == 0) {
    completed.push_back(
        {bundle_path(size() / kTileWidth - 1, kTileWidth), std::move(bundle_), size()});
    bundle_.clear();
  }
  push(0, leaf, completed);
}

void TileBuilder::push(size_t level, const Hash& hash, std::vector<TileFile>& completed) {
  if (level == levels_.size()) levels_.emplace_back();
  Level& here = levels_[level];
  here.hashes.push_back(hash);
  if (here.hashes.size() < kTileWidth) return;
  completed.push_back({tile_path(static_cast<uint32_t>(level), here.number, kTileWidth),
                       concatenated(here.hashes), size()});
  Hash root = tree_root(here.hashes);
  here.hashes.clear();
  here.number++;
  push(level + 1, root, completed);  // may move levels_: `here` is not used after this
}

std::vector<TileFile> TileBuilder::partials() const {
  std::vector<TileFile> files;
  if (!bundle_.empty())
    files.push_back({bundle_path(size() / kTileWidth, static_cast<uint32_t>(size() % kTileWidth)),
                     bundle_, size()});
  for (size_t level = 0; level < levels_.size(); level++) {
    const Level& here = levels_[level];
    if (here.hashes.empty()) continue;
    files.push_back({tile_path(static_cast<uint32_t>(level), here.number,
                               static_cast<uint32_t>(here.hashes.size())),
                     concatenated(here.hashes), size()});
  }
  return files;
}

}  // namespace infertrail::trail
