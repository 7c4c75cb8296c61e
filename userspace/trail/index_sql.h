// The SQL of the search index: schema, rows in and out. Only index*.cc include this.
// Thread: as the handle. Owner: Database owns the handle.
#pragma once

#include <sqlite3.h>

#include <string>
#include <vector>

#include "base/owned.h"
#include "base/result.h"
#include "trail/index.h"

namespace infertrail::trail::sql {

using Database = Owned<sqlite3, sqlite3_close>;
using Statement = Owned<sqlite3_stmt, sqlite3_finalize>;

inline constexpr int kSchemaVersion = 1;
extern const char* const kSchema;

Result<Database> open(const std::string& path, bool writable);
Error error_of(sqlite3* database, const std::string& doing);
Status run(sqlite3* database, const std::string& statements);
Result<Statement> prepare(sqlite3* database, const std::string& statement);
Status insert(sqlite3* database, const std::vector<const IndexRow*>& rows);
IndexRow row_from(sqlite3_stmt* statement);  // of "SELECT * FROM records"

}  // namespace infertrail::trail::sql
