// The reading half of the index, and what it means for a record to match a query.
#include <algorithm>
#include <cctype>

#include "base/file.h"
#include "trail/encoding.h"
#include "trail/index.h"
#include "trail/index_sql.h"

namespace infertrail::trail {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

int64_t nanoseconds(const google::protobuf::Timestamp& time) {
  return time.seconds() * 1000000000 + time.nanos();
}

bool contains(const std::string& text, const std::string& lower_needle) {
  auto same = [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == static_cast<unsigned char>(b);
  };
  return std::search(text.begin(), text.end(), lower_needle.begin(), lower_needle.end(), same) !=
         text.end();
}

// Is the needle in a string of the message, at any depth? Map entries are messages to reflection.
bool text_contains(const Message& message, const std::string& lower_needle) {
  const auto* reflection = message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(message, &fields);
  std::string scratch;
  for (const FieldDescriptor* field : fields) {
    int count = field->is_repeated() ? reflection->FieldSize(message, field) : 1;
    for (int i = 0; i < count; i++) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        const Message& inner = field->is_repeated()
                                   ? reflection->GetRepeatedMessage(message, field, i)
                                   : reflection->GetMessage(message, field);
        if (text_contains(inner, lower_needle)) return true;
      } else if (field->type() == FieldDescriptor::TYPE_STRING) {
        const std::string& text =
            field->is_repeated()
                ? reflection->GetRepeatedStringReference(message, field, i, &scratch)
                : reflection->GetStringReference(message, field, &scratch);
        if (contains(text, lower_needle)) return true;
      }
    }
  }
  return false;
}

// The WHERE clause of a query, and its parameters in order. Numbers are put in as text: they are
// ours.
struct Filter {
  std::string where;
  std::vector<std::string> texts;
};

Filter filter_of(const LogQuery& query, uint64_t before) {
  Filter filter{"idx < " + std::to_string(std::min<uint64_t>(before, INT64_MAX)), {}};
  auto number = [&](const std::string& condition) { filter.where += " AND " + condition; };
  auto text = [&](const std::string& condition, const std::string& value) {
    filter.where += " AND " + condition;
    filter.texts.push_back(value);
  };
  if (query.after_set())
    number("idx > " + std::to_string(std::min<uint64_t>(query.after_index(), INT64_MAX)));
  if (query.has_since()) number("time >= " + std::to_string(nanoseconds(query.since())));
  if (query.has_until()) number("time < " + std::to_string(nanoseconds(query.until())));
  if (query.pid()) number("pid = " + std::to_string(query.pid()));
  if (query.status()) number("status = " + std::to_string(query.status()));
  if (!query.model().empty()) text("model = ?", query.model());
  if (!query.kind().empty()) text("kind = ?", query.kind());
  if (!query.exe().empty()) text("instr(exe, ?) > 0", query.exe());
  if (!query.id().empty()) {
    // Digits alone are an index; a prefix of an id that is all digits can be asked for with its dash.
    if (auto index = canonical_number(query.id()); index && *index <= INT64_MAX)
      number("idx = " + query.id());
    else
      text("substr(id, 1, " + std::to_string(query.id().size()) + ") = ?", query.id());
  }
  return filter;
}

}  // namespace

IndexRow row_of(const Record& record) {
  IndexRow row;
  row.index = record.index();
  row.time_ns = nanoseconds(record.time());
  row.id = record.id();
  row.kind = record.kind();
  row.complete = record.complete();
  row.model = record.inference().model();
  row.dialect = record.inference().dialect();
  row.operation = record.inference().operation();
  row.exe = record.process().exe();
  row.pid = record.process().pid();
  row.peer_exe = record.peer().exe();
  row.status = record.http().status();
  row.path = record.http().path();
  row.stream = record.inference().stream();
  row.input_tokens = record.inference().input_tokens();
  row.output_tokens = record.inference().output_tokens();
  row.duration_ms = record.duration_ms();
  row.bytes = record.request().bytes() + record.response().bytes();
  row.verdict = record.verdict().action();
  row.client = record.flow().client();
  row.server = record.flow().server();
  return row;
}

bool matches(const LogQuery& query, const Record& record) {
  int64_t time = nanoseconds(record.time());
  if (query.after_set() && record.index() <= query.after_index()) return false;
  if (query.has_since() && time < nanoseconds(query.since())) return false;
  if (query.has_until() && time >= nanoseconds(query.until())) return false;
  if (query.pid() && record.process().pid() != query.pid()) return false;
  if (query.status() && record.http().status() != query.status()) return false;
  if (!query.model().empty() && record.inference().model() != query.model()) return false;
  if (!query.kind().empty() && record.kind() != query.kind()) return false;
  if (!query.exe().empty() && record.process().exe().find(query.exe()) == std::string::npos)
    return false;
  if (auto index = canonical_number(query.id()); index && !query.id().empty()) {
    if (*index != record.index()) return false;
  } else if (!record.id().starts_with(query.id())) {
    return false;
  }
  if (query.grep().empty()) return true;
  std::string needle = query.grep();
  for (char& c : needle) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text_contains(record, needle);
}

IndexView IndexView::open(const std::string& trail_dir) {
  IndexView view;
  if (!view.open_days(trail_dir)) {
    view.days_.clear();
    view.covered_ = 0;
  }
  return view;
}

// False when the rows are not exactly 0..n-1: a hidden, doubled or invented row, or a writer
// between the commits of two days. Then nobody uses the index.
bool IndexView::open_days(const std::string& trail_dir) {
  auto names = list_dir(trail_dir + "/index");
  if (!names.ok()) return false;
  uint64_t rows = 0, end = 0;
  for (const std::string& name : names.value()) {
    if (!name.ends_with(".sqlite")) continue;
    auto database = sql::open(trail_dir + "/index/" + name, false);
    if (!database.ok()) return false;
    auto version = sql::prepare(database.value().get(), "PRAGMA user_version");
    if (!version.ok() || sqlite3_step(version.value().get()) != SQLITE_ROW ||
        sqlite3_column_int(version.value().get(), 0) != sql::kSchemaVersion)
      return false;
    // One read transaction per file for the life of the view: what it covers does not change.
    if (!sql::run(database.value().get(), "BEGIN").ok()) return false;
    auto count = sql::prepare(database.value().get(), "SELECT count(*), max(idx) FROM records");
    if (!count.ok() || sqlite3_step(count.value().get()) != SQLITE_ROW) return false;
    rows += static_cast<uint64_t>(sqlite3_column_int64(count.value().get(), 0));
    if (sqlite3_column_type(count.value().get(), 1) != SQLITE_NULL)
      end = std::max(end, static_cast<uint64_t>(sqlite3_column_int64(count.value().get(), 1)) + 1);
    days_[name] = std::move(database.value());
  }
  covered_ = rows;
  return rows == end;
}

Result<std::vector<uint64_t>> IndexView::newest(const LogQuery& query, uint64_t before,
                                                uint64_t limit) const {
  std::vector<uint64_t> found;
  Filter filter = filter_of(query, before);
  for (const auto& [name, database] : days_) {
    TRY(sql::Statement statement,
        sql::prepare(database.get(), "SELECT idx FROM records WHERE " + filter.where +
                                         " ORDER BY idx DESC LIMIT " +
                                         std::to_string(std::min<uint64_t>(limit, INT64_MAX))));
    for (size_t i = 0; i < filter.texts.size(); i++)
      sqlite3_bind_text(statement.get(), static_cast<int>(i + 1), filter.texts[i].data(),
                        static_cast<int>(filter.texts[i].size()), SQLITE_STATIC);
    int step;
    while ((step = sqlite3_step(statement.get())) == SQLITE_ROW)
      found.push_back(static_cast<uint64_t>(sqlite3_column_int64(statement.get(), 0)));
    if (step != SQLITE_DONE) return sql::error_of(database.get(), "query " + name);
  }
  std::sort(found.rbegin(), found.rend());
  if (found.size() > limit) found.resize(limit);
  return found;
}

Result<std::vector<IndexRow>> IndexView::rows(uint64_t first, uint64_t limit) const {
  std::vector<IndexRow> found;
  for (const auto& [name, database] : days_) {
    TRY(sql::Statement statement,
        sql::prepare(database.get(), "SELECT * FROM records WHERE idx >= " + std::to_string(first) +
                                         " AND idx < " + std::to_string(first + limit)));
    int step;
    while ((step = sqlite3_step(statement.get())) == SQLITE_ROW)
      found.push_back(sql::row_from(statement.get()));
    if (step != SQLITE_DONE) return sql::error_of(database.get(), "read " + name);
  }
  std::sort(found.begin(), found.end(),
            [](const IndexRow& a, const IndexRow& b) { return a.index < b.index; });
  return found;
}

}  // namespace infertrail::trail
