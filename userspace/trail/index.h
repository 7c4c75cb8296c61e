// The search index: SQLite, one file per UTC day of the records' time, index/YYYY-MM-DD.sqlite. It
// is a cache: it can be deleted at any time, is made again from the segments, and nothing trusts
// it. What it covers is a prefix of the log, rows 0..covered()-1, each exactly once; otherwise it
// is not used. Thread: Index is the writer's; an IndexView belongs to one thread, any number may
// exist.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/owned.h"
#include "base/result.h"
#include "infertrail/control.pb.h"
#include "infertrail/record.pb.h"

namespace infertrail::trail {

struct IndexRow {
  uint64_t index = 0;
  int64_t time_ns = 0;  // UNIX time of the record
  std::string id, kind, model, dialect, operation, exe, peer_exe, path, verdict, client, server;
  bool complete = false, stream = false;
  uint32_t pid = 0, status = 0, input_tokens = 0, output_tokens = 0;
  uint64_t duration_ms = 0, bytes = 0;  // of request and response body
  std::string segment;                  // path below the trail's directory
  uint64_t frame_offset = 0;            // of the bodies frame
  uint32_t position = 0;                // in that frame
  bool operator==(const IndexRow&) const = default;
};
IndexRow row_of(const Record& record);

class Index {
 public:
  // Opens what is there; an index that is damaged, has holes, is of another version or knows more
  // than `log_size` entries is removed, to be made again by catch_up().
  static Result<Index> open(const std::string& trail_dir, uint64_t log_size);

  uint64_t covered() const { return covered_; }
  // Rows in order, the first with index covered().
  Status add(const std::vector<IndexRow>& rows);
  // Adds what the segments have more.
  Status catch_up(const std::string& log);

 private:
  using Database = Owned<sqlite3, sqlite3_close>;
  explicit Index(std::string trail_dir) : dir_(std::move(trail_dir)) {}
  Status add_day(const std::string& day, const std::vector<const IndexRow*>& rows);
  Result<sqlite3*> day(const std::string& name);

  std::string dir_;
  std::map<std::string, Database> days_;  // open handles, few
  uint64_t covered_ = 0;
};

class IndexView {
 public:
  // Read only. An index that cannot be used covers nothing; that is no error.
  static IndexView open(const std::string& trail_dir);

  uint64_t covered() const { return covered_; }
  // Indexes below `before` of rows that match all filters but grep, newest first, at most `limit`.
  Result<std::vector<uint64_t>> newest(const LogQuery& query, uint64_t before,
                                       uint64_t limit) const;
  // All rows from `first` on, at most `limit`, in order; for comparing them with the log.
  Result<std::vector<IndexRow>> rows(uint64_t first, uint64_t limit) const;

 private:
  using Database = Owned<sqlite3, sqlite3_close>;
  bool open_days(const std::string& trail_dir);

  std::map<std::string, Database> days_;
  uint64_t covered_ = 0;
};

// Compares every row with the record it was made from. The error names the first that differs.
Status verify_index(const std::string& trail_dir);

// Does the record match all filters of the query (without limit and follow)? grep is searched in
// every text of the record, ASCII case ignored.
bool matches(const LogQuery& query, const Record& record);

}  // namespace infertrail::trail
