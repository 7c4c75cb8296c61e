#include "trail/verify.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "base/bytes.h"
#include "base/file.h"
#include "infertrail/record.pb.h"
#include "trail/checkpoint.h"
#include "trail/encoding.h"
#include "trail/entry.h"
#include "trail/lock.h"
#include "trail/scan.h"
#include "trail/tile_store.h"
#include "trail/tiles.h"
#include "trail/torn.h"

namespace infertrail::trail {
namespace {

constexpr int kTries = 5;            // of everything, beside a writer that changes files
constexpr int kSnapshotTries = 200;  // of the checkpoint and its partial files

Error corrupt(const std::string& what) {
  return {Code::kCorrupt, what};
}

// A checkpoint and the partial files of its size, which a writer removes a second later. Partial
// files that are missing are found out when they are needed.
struct Snapshot {
  std::string note;
  Checkpoint checkpoint;
  std::map<std::string, std::string> partials;  // path -> bytes
};

// One attempt over one checkpoint.
class Verification {
 public:
  Verification(const std::string& dir, const VerifierKey& key, const Snapshot& snapshot,
               const std::optional<Checkpoint>& older, const VerifyProgress& progress)
      : dir_(dir),
        key_(key),
        snapshot_(snapshot),
        checkpoint_(snapshot.checkpoint),
        older_(older),
        progress_(progress),
        store_(dir, system_files()) {}

  Result<VerifyReport> run() {
    TRY_STATUS(list_files());
    TRY_STATUS(at_size());
    ScanVisitor visitor{[this](const Batch& b) { return batch(b); },
                        [this](const CheckpointFrame& f) { return checkpoint_frame(f); }};
    TRY(ScanEnd end, scan_log(dir_, {log_id(key_.name), 0, UINT64_MAX, true}, visitor));
    if (end.next_index < checkpoint_.size) return too_short(end);
    if (!note_found_) return note_missing(end);
    TRY_STATUS(check_partials_of_end());
    TRY_STATUS(nothing_left());
    TRY(std::vector<TornTail> unnamed, unnamed_tails(dir_, end, notes_));
    return report(end, unnamed);
  }

 private:
  Status list_files() {
    TRY(std::vector<std::string> paths, store_.list());
    for (std::string& path : paths) {
      if (is_temporary(path)) continue;  // a writer's, not part of the log
      if (is_partial(path)) {
        std::string full = path.substr(0, path.rfind(".p/"));
        partials_[full].insert(path);
      } else {
        files_.insert(std::move(path));
      }
    }
    return {};
  }

  Status batch(const Batch& batch) {
    for (size_t i = 0; i < batch.leaves.size(); i++) {
      uint64_t index = batch.first_index + i;
      auto record = open_record(index, batch.leaves[i], batch.bodies[i]);
      if (!record.ok())
        return corrupt(batch.segment.path() + ": offset " + std::to_string(batch.bodies_offset) +
                       ": " + record.error().message);
      std::vector<TileFile> completed;
      builder_.append(batch.leaves[i], leaf_hash(batch.leaves[i]), completed);
      for (const TileFile& file : completed) TRY_STATUS(check_full(file));
      if (record.value().kind() == "recovery") TRY_STATUS(note_recovery(batch.leaves[i]));
      TRY_STATUS(at_size());
    }
    if (progress_) progress_(builder_.size());
    return {};
  }

  Status note_recovery(std::string_view entry) {
    Leaf leaf;
    if (!leaf.ParseFromArray(entry.data(), static_cast<int>(entry.size())))
      return corrupt("entry " + std::to_string(builder_.size() - 1) + ": its leaf does not parse");
    if (auto note = TornNote::parse(leaf.note())) notes_.push_back(std::move(*note));
    return {};
  }

  Status checkpoint_frame(const CheckpointFrame& frame) {
    std::string where =
        frame.segment.path() + ": offset " + std::to_string(frame.offset) + ": checkpoint ";
    auto checkpoint = open_checkpoint(frame.note, key_);
    if (!checkpoint.ok()) return corrupt(where + checkpoint.error().message);
    if (checkpoint.value().size != frame.size)
      return corrupt(where + "is of another size than its frame");
    if (checkpoint.value().root != builder_.root())
      return corrupt(where + "has another root than the entries before it");
    if (frame.note == snapshot_.note) note_found_ = true;
    return {};
  }

  // What must hold when the tree has exactly the size of one of the two checkpoints.
  Status at_size() {
    uint64_t size = builder_.size();
    if (older_ && older_->size == size && older_->root != builder_.root())
      return corrupt("FORK: the older checkpoint has another root at " + std::to_string(size) +
                     " entries");
    if (size != checkpoint_.size) return {};
    if (checkpoint_.root != builder_.root())
      return corrupt("checkpoint: its root is not the root of the first " + std::to_string(size) +
                     " entries in the segments");
    for (const TileFile& file : builder_.partials()) {
      auto there = snapshot_.partials.find(file.path);
      if (there == snapshot_.partials.end()) return corrupt(file.path + ": is missing");
      if (there->second != file.bytes)
        return corrupt(file.path + ": differs from the entries in the segments");
    }
    return {};
  }

  // A full tile or bundle: must be there when it is published, and be right when it is there.
  // Partial files of the same tile may remain; each must be a beginning of it.
  Status check_full(const TileFile& file) {
    TRY_STATUS(check_prefixes(file.path, file.bytes));
    TRY(bool there, store_.has(file));
    files_.erase(file.path);
    if (!there && file.size <= checkpoint_.size) return corrupt(file.path + ": is missing");
    return {};
  }

  Status check_prefixes(const std::string& full_path, std::string_view bytes) {
    auto found = partials_.find(full_path);
    if (found == partials_.end()) return {};
    bool bundle = full_path.starts_with("tile/entries/");
    for (const std::string& path : found->second) {
      auto width = canonical_number(path.substr(path.rfind('/') + 1));
      if (!width || *width == 0 || *width >= kTileWidth)
        return corrupt(path + ": is not a file of a log");
      size_t length = bundle ? bundle_length(bytes, *width) : *width * 32;
      if (length > bytes.size() || length == 0)
        return corrupt(path + ": is wider than the tree, which has " +
                       std::to_string(builder_.size()) + " entries");
      auto there = store_.has({path, std::string(bytes.substr(0, length)), 0});
      if (!there.ok()) return there.error();  // one that a writer removed meanwhile is fine
    }
    partials_.erase(found);
    return {};
  }

  // Bytes of the first `entries` of a bundle; 0 when it has fewer.
  static size_t bundle_length(std::string_view bundle, uint64_t entries) {
    size_t at = 0;
    for (uint64_t i = 0; i < entries; i++) {
      if (at + 2 > bundle.size()) return 0;
      at += 2 + (static_cast<uint8_t>(bundle[at]) << 8) + static_cast<uint8_t>(bundle[at + 1]);
    }
    return at;
  }

  Status check_partials_of_end() {
    for (const TileFile& file : builder_.partials())
      TRY_STATUS(check_prefixes(file.path.substr(0, file.path.rfind(".p/")), file.bytes));
    return {};
  }

  // Files that no tree of this size has.
  Status nothing_left() {
    if (!files_.empty()) return corrupt(*files_.begin() + ": is not a file of this log");
    if (!partials_.empty())
      return corrupt(*partials_.begin()->second.begin() + ": is not a file of this log");
    return {};
  }

  Error too_short(const ScanEnd& end) {
    if (end.torn.empty())
      return corrupt((end.segments.empty() ? "segments" : end.segments.back().path()) +
                     ": ends at entry " + std::to_string(end.next_index) + ", but " +
                     std::to_string(checkpoint_.size) + " entries are published");
    const TornTail& tail = end.torn.back();
    return corrupt(tail.segment.path() + ": offset " + std::to_string(tail.offset) + " (entry " +
                   std::to_string(tail.next_index) + "): " + tail.what + "; " +
                   std::to_string(checkpoint_.size) + " entries are published");
  }

  Error note_missing(const ScanEnd& end) {
    std::string place = end.segments.empty() ? "segments" : end.segments.back().path();
    if (!end.torn.empty())
      place = end.torn.back().segment.path() + ": offset " +
              std::to_string(end.torn.back().offset) + ": " + end.torn.back().what;
    return corrupt(place + ": the published checkpoint does not stand in the segments");
  }

  VerifyReport report(const ScanEnd& end, const std::vector<TornTail>& unnamed) {
    VerifyReport report{checkpoint_.origin,
                        checkpoint_.size,
                        base64_encode(bytes_of(checkpoint_.root)),
                        end.next_index - checkpoint_.size,
                        end.next_index,
                        end.bytes,
                        {}};
    if (!unnamed.empty())
      report.torn_tail = unnamed.back().segment.path() + ": torn tail at offset " +
                         std::to_string(unnamed.back().offset) + ": not acknowledged";
    return report;
  }

  const std::string& dir_;
  const VerifierKey& key_;
  const Snapshot& snapshot_;
  const Checkpoint& checkpoint_;
  const std::optional<Checkpoint>& older_;
  const VerifyProgress& progress_;
  TileStore store_;
  TileBuilder builder_;
  std::set<std::string> files_;                            // full tiles and bundles not yet checked
  std::map<std::string, std::set<std::string>> partials_;  // full path -> its partial files
  std::vector<TornNote> notes_;
  bool note_found_ = false;
};

Result<VerifierKey> read_vkey(const std::string& path, const std::string& name) {
  TRY(std::string text, read_file(path));
  if (text.empty() || text.back() != '\n') return corrupt(name + ": does not end with a line end");
  auto key = VerifierKey::parse(std::string_view(text).substr(0, text.size() - 1));
  if (!key.ok()) return corrupt(name + ": " + key.error().message);
  return key;
}

// The key to check with. A vkey from elsewhere must be the trail's own.
Result<VerifierKey> choose_key(const std::string& dir, const VerifyOptions& options) {
  if (options.vkey_file.empty()) return read_vkey(dir + "/log.vkey", "log.vkey");
  TRY(VerifierKey key, read_vkey(options.vkey_file, options.vkey_file));
  auto own = read_file(dir + "/log.vkey");
  if (own.ok() && own.value() != key.text() + "\n")
    return corrupt("log.vkey: is not the key in " + options.vkey_file);
  if (!own.ok() && own.error().code != Code::kNotFound) return own.error();
  return key;
}

Result<std::optional<Checkpoint>> read_older(const VerifyOptions& options, const VerifierKey& key) {
  if (options.older_checkpoint.empty()) return std::optional<Checkpoint>();
  TRY(std::string note, read_file(options.older_checkpoint));
  auto older = open_checkpoint(note, key);
  if (!older.ok()) return corrupt(options.older_checkpoint + ": " + older.error().message);
  return std::optional(older.value());
}

Result<Snapshot> take_snapshot(const std::string& dir, const VerifierKey& key) {
  for (int tries = 1;; tries++) {
    Snapshot snapshot;
    auto note = read_file(dir + "/checkpoint");
    if (!note.ok()) return wrap(note.error(), "checkpoint");
    snapshot.note = std::move(note.value());
    auto checkpoint = open_checkpoint(snapshot.note, key);
    if (!checkpoint.ok()) return corrupt("checkpoint: " + checkpoint.error().message);
    snapshot.checkpoint = checkpoint.value();
    std::vector<std::string> paths = partial_paths(snapshot.checkpoint.size);
    for (const std::string& path : paths) {
      auto bytes = read_file(dir + "/" + path);
      if (bytes.ok())
        snapshot.partials[path] = std::move(bytes.value());
      else if (bytes.error().code != Code::kNotFound)
        return bytes.error();
    }
    if (snapshot.partials.size() == paths.size() || tries == kSnapshotTries) return snapshot;
    auto now = read_file(dir + "/checkpoint");
    if (now.ok() && now.value() == snapshot.note)
      return snapshot;  // nobody published: they are gone
  }
}

// May a writer have changed files while they were read?
bool changing(const std::string& dir, const Snapshot& snapshot) {
  auto live = sequenced_by_writer(dir);
  if (live.ok() && live.value()) return true;
  auto now = read_file(dir + "/checkpoint");
  return !now.ok() || now.value() != snapshot.note;
}

}  // namespace

Result<VerifyReport> verify_trail(const std::string& trail_dir, const VerifyOptions& options,
                                  const VerifyProgress& progress) {
  TRY(VerifierKey key, choose_key(trail_dir, options));
  TRY(std::optional<Checkpoint> older, read_older(options, key));
  for (int tries = 1;; tries++) {
    TRY(Snapshot snapshot, take_snapshot(trail_dir, key));
    if (older && older->size > snapshot.checkpoint.size)
      return corrupt("ROLLBACK: checkpoint has " + std::to_string(snapshot.checkpoint.size) +
                     " entries, the older one " + std::to_string(older->size));
    auto report = Verification(trail_dir, key, snapshot, older, progress).run();
    if (report.ok() || tries == kTries || !changing(trail_dir, snapshot)) return report;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace infertrail::trail
