#include "trail/index.h"

#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "trail/encoding.h"
#include "trail/entry.h"
#include "trail/index_sql.h"
#include "trail/scan.h"

namespace infertrail::trail {
namespace {

constexpr size_t kOpenDays = 4;
constexpr size_t kRowsAtOnce = 2048;

std::string day_of(int64_t time_ns) {
  time_t seconds = time_ns / 1000000000;
  tm parts{};
  char text[32] = "1970-01-01";
  if (gmtime_r(&seconds, &parts) != nullptr && parts.tm_year < 8000)
    strftime(text, sizeof text, "%Y-%m-%d", &parts);
  return text;
}

Status remove_index(const std::string& dir) {
  TRY(std::vector<std::string> names, list_dir(dir));
  for (const std::string& name : names)
    if (::unlink((dir + "/" + name).c_str()) != 0)
      return system_error("unlink", dir + "/" + name, errno);
  return {};
}

}  // namespace

Result<Index> Index::open(const std::string& trail_dir, uint64_t log_size) {
  TRY_STATUS(mkdirs(trail_dir + "/index", 0700));
  Index index(trail_dir);
  IndexView view = IndexView::open(trail_dir);
  index.covered_ = view.covered();
  if (index.covered_ == 0 || index.covered_ > log_size) {
    view = IndexView();  // closes the files
    TRY_STATUS(remove_index(trail_dir + "/index"));
    index.covered_ = 0;
  }
  return index;
}

Result<sqlite3*> Index::day(const std::string& name) {
  auto found = days_.find(name);
  if (found != days_.end()) return found->second.get();
  if (days_.size() >= kOpenDays) days_.erase(days_.begin());  // the oldest day
  TRY(sql::Database database, sql::open(dir_ + "/index/" + name + ".sqlite", true));
  TRY_STATUS(sql::run(database.get(), sql::kSchema));
  return (days_[name] = std::move(database)).get();
}

Status Index::add_day(const std::string& name, const std::vector<const IndexRow*>& rows) {
  TRY(sqlite3 * database, day(name));
  TRY_STATUS(sql::run(database, "BEGIN IMMEDIATE"));
  Status inserted = sql::insert(database, rows);
  if (inserted.ok()) return sql::run(database, "COMMIT");
  Status undone = sql::run(database, "ROLLBACK");
  return undone.ok() ? inserted : wrap(undone.error(), inserted.error().message + "; then");
}

Status Index::add(const std::vector<IndexRow>& rows) {
  std::map<std::string, std::vector<const IndexRow*>> by_day;
  for (const IndexRow& row : rows) by_day[day_of(row.time_ns)].push_back(&row);
  if (!rows.empty()) IT_CHECK(rows.front().index == covered_);
  for (const auto& [name, some] : by_day) TRY_STATUS(add_day(name, some));
  covered_ += rows.size();
  return {};
}

Status Index::catch_up(const std::string& log) {
  std::vector<IndexRow> rows;
  ScanVisitor visitor;
  visitor.batch = [&](const Batch& batch) -> Status {
    for (uint32_t i = 0; i < batch.leaves.size(); i++) {
      if (batch.first_index + i < covered_ + rows.size()) continue;
      TRY(Record record, open_record(batch.first_index + i, batch.leaves[i], batch.bodies[i]));
      IndexRow row = row_of(record);
      row.index = batch.first_index + i;
      row.segment = batch.segment.path();
      row.frame_offset = batch.bodies_offset;
      row.position = i;
      rows.push_back(std::move(row));
    }
    if (rows.size() < kRowsAtOnce) return {};
    TRY_STATUS(add(rows));
    rows.clear();
    return {};
  };
  TRY(ScanEnd end, scan_log(dir_, {log, covered_, UINT64_MAX, true}, visitor));
  TRY_STATUS(add(rows));
  if (covered_ != end.next_index)
    return Error{Code::kCorrupt, "the index covers " + std::to_string(covered_) + " of " +
                                     std::to_string(end.next_index) + " entries"};
  return {};
}

Status verify_index(const std::string& trail_dir) {
  IndexView view = IndexView::open(trail_dir);
  uint64_t next = 0;
  ScanVisitor visitor;
  visitor.batch = [&](const Batch& batch) -> Status {
    uint64_t wanted = std::min<uint64_t>(
        batch.leaves.size(), view.covered() - std::min(view.covered(), batch.first_index));
    TRY(std::vector<IndexRow> rows, view.rows(batch.first_index, wanted));
    for (uint32_t i = 0; i < rows.size(); i++, next++) {
      TRY(Record record, open_record(batch.first_index + i, batch.leaves[i], batch.bodies[i]));
      IndexRow row = row_of(record);
      row.index = batch.first_index + i;
      row.segment = batch.segment.path();
      row.frame_offset = batch.bodies_offset;
      row.position = i;
      if (row != rows[i])
        return Error{Code::kCorrupt,
                     "index: the row of entry " + std::to_string(row.index) +
                         " is not what the record says; delete index/ to have it made again"};
    }
    return {};
  };
  TRY(ScanEnd end, scan_log(trail_dir, {{}, 0, UINT64_MAX, true}, visitor));
  if (next != view.covered() || (next == 0 && end.next_index > 0))
    return Error{Code::kCorrupt,
                 "index: rows are missing or of no entry; delete index/ to have it made again"};
  return {};
}

}  // namespace infertrail::trail
