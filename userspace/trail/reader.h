// Reads a trail: by index, or by query. Works beside a writer, in another process, and with no
// writer. Only sequenced (durable) records are seen. The segments are the truth: each record that
// is returned was compared with its leaf, and the index only says where to look first.
//
// Thread: one at a time; make one Reader per thread. Owner: holds open files of the segments it
// used.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "infertrail/control.pb.h"
#include "infertrail/record.pb.h"
#include "trail/segment_file.h"

namespace infertrail::trail {

struct ReaderOptions {
  bool use_index = true;  // false: search the segments themselves; slower, and proof against a
                          // doctored index (a row changed so that a filter does not find it)
};

class Reader {
 public:
  static Result<std::unique_ptr<Reader>> open(const std::string& trail_dir,
                                              const ReaderOptions& options = {});

  // Sequenced entries now.
  Result<uint64_t> size();

  // kNotFound: no such entry yet. kCorrupt: what is stored is not what the leaf commits to.
  Result<Record> read(uint64_t index);

  // The newest `limit` (0: 100) records that match, oldest first, one at a time: a record may be
  // large. `summary` leaves bodies and messages out. An error of `each` ends the query and is its
  // result.
  Status query(const LogQuery& query, const std::function<Status(Record)>& each);
  Result<std::vector<Record>> query(const LogQuery& query);

 private:
  struct BatchPlace {
    uint64_t first = 0;
    uint32_t count = 0;
    uint64_t offset = 0;  // of the bodies frame
  };
  struct Table {  // of one segment, as far as it was walked
    explicit Table(SegmentFile opened) : file(std::move(opened)) {}
    SegmentFile file;
    uint64_t walked = kSegmentHeaderBytes;
    std::vector<BatchPlace> batches;
  };
  struct Decoded {  // the batch read last
    std::string plain_leaves, plain_bodies;
    std::vector<std::string_view> leaves, bodies;
    uint64_t first = 0;
  };

  Reader(std::string trail_dir, const ReaderOptions& options)
      : dir_(std::move(trail_dir)), options_(options) {}
  Result<Table*> table_of(uint64_t index);
  Status walk(Table& table, uint64_t limit);
  Status decode(const Table& table, const BatchPlace& place);
  Result<std::vector<uint64_t>> select(const LogQuery& query, uint64_t size);
  Status select_scanning(const LogQuery& query, uint64_t from, uint64_t to, uint64_t limit,
                         std::vector<uint64_t>& found);

  const std::string dir_;
  const ReaderOptions options_;
  std::vector<SegmentName> segments_;
  std::map<SegmentName, Table> tables_;
  std::unique_ptr<Decoded> decoded_;
  uint64_t seen_size_ = 0;
};

}  // namespace infertrail::trail
