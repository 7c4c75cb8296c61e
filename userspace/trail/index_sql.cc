#include "trail/index_sql.h"

namespace infertrail::trail::sql {

// One column per member of IndexRow, in its order.
const char* const kSchema =
    "CREATE TABLE IF NOT EXISTS records (idx INTEGER PRIMARY KEY, time INTEGER, id TEXT, kind TEXT,"
    " model TEXT, dialect TEXT, operation TEXT, exe TEXT, peer_exe TEXT, path TEXT, verdict TEXT,"
    " client TEXT, server TEXT, complete INTEGER, stream INTEGER, pid INTEGER, status INTEGER,"
    " input_tokens INTEGER, output_tokens INTEGER, duration INTEGER, bytes INTEGER, segment TEXT,"
    " frame_offset INTEGER, position INTEGER);"
    "CREATE INDEX IF NOT EXISTS by_time ON records(time);"
    "CREATE INDEX IF NOT EXISTS by_model ON records(model);"
    "CREATE INDEX IF NOT EXISTS by_exe ON records(exe);"
    "CREATE INDEX IF NOT EXISTS by_status ON records(status);"
    "PRAGMA user_version = 1;";

Error error_of(sqlite3* database, const std::string& doing) {
  int code = sqlite3_errcode(database);
  Code kind = code == SQLITE_FULL                               ? Code::kExhausted
              : code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? Code::kCorrupt
                                                                : Code::kIo;
  return {kind, "index: " + doing + ": " + sqlite3_errmsg(database)};
}

Result<Database> open(const std::string& path, bool writable) {
  sqlite3* handle = nullptr;
  int flags = SQLITE_OPEN_NOMUTEX |
              (writable ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE : SQLITE_OPEN_READONLY);
  int opened = sqlite3_open_v2(path.c_str(), &handle, flags, nullptr);
  Database database(handle);
  if (opened != SQLITE_OK) return error_of(handle, "open " + path);
  sqlite3_busy_timeout(handle, 5000);
  if (writable) TRY_STATUS(run(handle, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"));
  return database;
}

Status run(sqlite3* database, const std::string& statements) {
  if (sqlite3_exec(database, statements.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
    return error_of(database, statements.substr(0, 40));
  return {};
}

Result<Statement> prepare(sqlite3* database, const std::string& statement) {
  sqlite3_stmt* handle = nullptr;
  if (sqlite3_prepare_v2(database, statement.c_str(), -1, &handle, nullptr) != SQLITE_OK)
    return error_of(database, statement.substr(0, 40));
  return Statement(handle);
}

Status insert(sqlite3* database, const std::vector<const IndexRow*>& rows) {
  TRY(Statement statement, prepare(database,
                                   "INSERT INTO records VALUES "
                                   "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"));
  for (const IndexRow* row : rows) {
    int at = 0;
    auto number = [&](uint64_t value) {
      sqlite3_bind_int64(statement.get(), ++at, static_cast<sqlite3_int64>(value));
    };
    auto text = [&](const std::string& value) {
      sqlite3_bind_text(statement.get(), ++at, value.data(), static_cast<int>(value.size()),
                        SQLITE_STATIC);
    };
    number(row->index), number(static_cast<uint64_t>(row->time_ns));
    for (const std::string* value :
         {&row->id, &row->kind, &row->model, &row->dialect, &row->operation, &row->exe,
          &row->peer_exe, &row->path, &row->verdict, &row->client, &row->server})
      text(*value);
    number(row->complete), number(row->stream), number(row->pid), number(row->status);
    number(row->input_tokens), number(row->output_tokens), number(row->duration_ms),
        number(row->bytes);
    text(row->segment), number(row->frame_offset), number(row->position);
    if (sqlite3_step(statement.get()) != SQLITE_DONE) return error_of(database, "insert");
    sqlite3_reset(statement.get());
  }
  return {};
}

IndexRow row_from(sqlite3_stmt* statement) {
  IndexRow row;
  int at = 0;
  auto number = [&] { return static_cast<uint64_t>(sqlite3_column_int64(statement, at++)); };
  auto text = [&] {
    const unsigned char* value = sqlite3_column_text(statement, at);
    int length = sqlite3_column_bytes(statement, at++);
    return value ? std::string(reinterpret_cast<const char*>(value), length) : std::string();
  };
  row.index = number(), row.time_ns = static_cast<int64_t>(number());
  for (std::string* value : {&row.id, &row.kind, &row.model, &row.dialect, &row.operation, &row.exe,
                             &row.peer_exe, &row.path, &row.verdict, &row.client, &row.server})
    *value = text();
  row.complete = number() != 0, row.stream = number() != 0;
  row.pid = static_cast<uint32_t>(number()), row.status = static_cast<uint32_t>(number());
  row.input_tokens = static_cast<uint32_t>(number());
  row.output_tokens = static_cast<uint32_t>(number());
  row.duration_ms = number(), row.bytes = number();
  row.segment = text(), row.frame_offset = number(), row.position = static_cast<uint32_t>(number());
  return row;
}

}  // namespace infertrail::trail::sql
