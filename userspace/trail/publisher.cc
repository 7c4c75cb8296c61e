#include "trail/publisher.h"

#include <algorithm>

namespace infertrail::trail {

Publisher::Publisher(const std::string& trail_dir, std::string origin, const Ed25519Key& key,
                     Sequencer& sequencer, const FileOps& ops, Recovered recovered)
    : dir_(trail_dir),
      origin_(std::move(origin)),
      key_(key),
      sequencer_(sequencer),
      ops_(ops),
      store_(trail_dir, ops),
      builder_(std::move(recovered.builder)),
      published_(std::move(recovered.published)),
      partials_(std::move(recovered.partials)) {}

void Publisher::append(std::string_view leaf) {
  size_t before = pending_.size();
  builder_.append(leaf, leaf_hash(leaf), pending_);
  for (size_t i = before; i < pending_.size(); i++) pending_bytes_ += pending_[i].bytes.size();
}

Status Publisher::publish() {
  Checkpoint checkpoint{origin_, builder_.size(), builder_.root()};
  TRY(std::string note, sign_checkpoint(checkpoint, key_));
  TRY_STATUS(sequencer_.append_checkpoint(note));
  TRY_STATUS(store_.put(pending_));
  pending_.clear();
  pending_bytes_ = 0;
  std::vector<TileFile> partials = builder_.partials();
  for (const TileFile& file : partials)
    if (std::find(partials_.begin(), partials_.end(), file.path) == partials_.end())
      partials_.push_back(file.path);
  TRY_STATUS(store_.put(partials));
  TRY_STATUS(write_file_atomic(dir_ + "/checkpoint", note, 0600, ops_));
  published_ = checkpoint;
  return remove_superseded(partials);
}

Status Publisher::remove_superseded(const std::vector<TileFile>& partials) {
  std::vector<std::string> old, current;
  for (const TileFile& file : partials) current.push_back(file.path);
  for (const std::string& path : partials_)
    if (std::find(current.begin(), current.end(), path) == current.end()) old.push_back(path);
  TRY_STATUS(store_.remove(old));
  partials_ = std::move(current);
  return {};
}

}  // namespace infertrail::trail
