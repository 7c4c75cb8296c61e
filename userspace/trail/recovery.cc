#include "trail/recovery.h"

#include <errno.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "infertrail/record.pb.h"
#include "trail/merkle.h"
#include "trail/tile_store.h"

namespace infertrail::trail {
namespace {

constexpr size_t kRebuildBytes = 16u << 20;  // of missing tiles held before they are written

constexpr const char* kAdvice =
    "; the trail was changed behind the daemon's back. Keep this directory as evidence, run "
    "`infertrail "
    "verify`, then restore a good copy or start a new trail in another directory under a new "
    "origin";

class Recovery {
 public:
  Recovery(const std::string& dir, const VerifierKey& key, const FileOps& ops)
      : dir_(dir), key_(key), store_(dir, ops) {}

  Result<Recovered> run() {
    TRY_STATUS(read_checkpoint());
    TRY_STATUS(settle_last_segment());
    if (published_size() == 0) TRY_STATUS(at_published_size());
    ScanVisitor visitor{[this](const Batch& batch) { return take(batch); }, nullptr};
    TRY(ScanEnd end, scan_log(dir_, {log_id(key_.name), 0, UINT64_MAX, false}, visitor));
    if (end.next_index < published_size()) return too_short(end);
    TRY_STATUS(store_.put(missing_));
    TRY_STATUS(remove_stale());
    TRY(std::vector<TornTail> unnamed, unnamed_tails(dir_, end, notes_));
    for (const TornTail& tail : unnamed) {
      TRY(TornNote note, note_of(dir_, tail));
      out_.torn.push_back(std::move(note));
    }
    TRY_STATUS(find_resume(end));
    return std::move(out_);
  }

 private:
  uint64_t published_size() const { return out_.published ? out_.published->size : 0; }

  Status read_checkpoint() {
    auto note = read_file(dir_ + "/checkpoint");
    if (!note.ok() && note.error().code == Code::kNotFound) return {};
    if (!note.ok()) return note.error();
    auto checkpoint = open_checkpoint(note.value(), key_);
    if (!checkpoint.ok())
      return Error{Code::kCorrupt, dir_ + "/checkpoint: " + checkpoint.error().message + kAdvice};
    out_.published = std::move(checkpoint.value());
    return {};
  }

  // After a failed fdatasync the page cache may show bytes that the disk does not have. Whatever
  // can be written is written, then the cache is dropped, so that what is read below is what is
  // stored.
  Status settle_last_segment() {
    TRY(std::vector<SegmentName> names, list_segments(dir_));
    if (names.empty()) return {};
    std::string path = dir_ + "/" + names.back().path();
    Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd.valid()) return system_error("open", path, errno);
    if (::fdatasync(fd.get()) != 0) return system_error("fdatasync", path, errno);
    int refused = ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
    if (refused != 0) return system_error("fadvise", path, refused);
    return {};
  }

  Status take(const Batch& batch) {
    for (std::string_view leaf : batch.leaves) {
      std::vector<TileFile> completed;
      out_.builder.append(leaf, leaf_hash(leaf), completed);
      for (TileFile& file : completed) TRY_STATUS(compare(std::move(file)));
      TRY_STATUS(note_recovery(leaf));
      if (out_.builder.size() == published_size()) TRY_STATUS(at_published_size());
    }
    return {};
  }

  Status note_recovery(std::string_view entry) {
    Leaf leaf;
    if (!leaf.ParseFromArray(entry.data(), static_cast<int>(entry.size())))
      return Error{Code::kCorrupt, "entry " + std::to_string(out_.builder.size() - 1) +
                                       ": its leaf does not parse"};
    if (leaf.kind() != "recovery") return {};
    if (auto note = TornNote::parse(leaf.note())) notes_.push_back(std::move(*note));
    return {};
  }

  Status at_published_size() {
    if (!out_.published) return {};
    if (out_.builder.root() != out_.published->root)
      return Error{Code::kCorrupt,
                   dir_ + ": the root over the first " + std::to_string(published_size()) +
                       " entries in the segments is not the root of the checkpoint" + kAdvice};
    for (TileFile& file : out_.builder.partials()) {
      out_.partials.push_back(file.path);
      TRY_STATUS(compare(std::move(file)));
    }
    return {};
  }

  // Missing files are made again; others than ours are a reason to stop.
  Status compare(TileFile file) {
    auto there = store_.has(file);
    if (!there.ok()) return Error{there.error().code, dir_ + "/" + there.error().message + kAdvice};
    if (there.value()) return {};
    missing_bytes_ += file.bytes.size();
    missing_.push_back(std::move(file));
    if (missing_bytes_ < kRebuildBytes) return {};
    TRY_STATUS(store_.put(missing_));
    missing_.clear();
    missing_bytes_ = 0;
    return {};
  }

  // Temporary files, and partial files of sizes that are not published.
  Status remove_stale() {
    TRY(std::vector<std::string> paths, store_.list());
    std::erase_if(paths, [this](const std::string& path) {
      bool stale = is_temporary(path) ||
                   (is_partial(path) && std::find(out_.partials.begin(), out_.partials.end(),
                                                  path) == out_.partials.end());
      return !stale;
    });
    return store_.remove(paths);
  }

  Error too_short(const ScanEnd& end) {
    std::string where =
        end.torn.empty() ? "the segments end there"
                         : end.torn.back().segment.path() + " is damaged at offset " +
                               std::to_string(end.torn.back().offset) + ": " + end.torn.back().what;
    return {Code::kCorrupt,
            dir_ + ": " + std::to_string(published_size()) + " entries are published, but only " +
                std::to_string(end.next_index) + " can be read: " + where + kAdvice};
  }

  Status find_resume(const ScanEnd& end) {
    if (end.segments.empty()) return {};
    SegmentName last = end.segments.back();
    if (!end.torn.empty() && end.torn.back().segment == last) return {};
    TRY(SegmentFile file, SegmentFile::open(dir_, last));
    out_.resume = {last, file.size()};
    return {};
  }

  const std::string& dir_;
  const VerifierKey& key_;
  TileStore store_;
  Recovered out_;
  std::vector<TornNote> notes_;
  std::vector<TileFile> missing_;
  size_t missing_bytes_ = 0;
};

}  // namespace

Result<Recovered> recover_trail(const std::string& trail_dir, const VerifierKey& key,
                                const FileOps& ops) {
  return Recovery(trail_dir, key, ops).run();
}

}  // namespace infertrail::trail
