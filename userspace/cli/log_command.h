// Records as rows of `infertrail log`. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "cli/arguments.h"
#include "cli/table.h"
#include "cli/time_text.h"
#include "infertrail/control.pb.h"
#include "infertrail/record.pb.h"

namespace infertrail::cli {

std::vector<Column> log_columns();
Row log_row(const Record& record);

// The flags as the daemon's query. Errors name the flag.
Result<LogQuery> log_query(const Arguments& arguments, const Timestamp& now);

}  // namespace infertrail::cli
