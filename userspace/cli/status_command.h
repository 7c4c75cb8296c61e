// What the daemon says of itself and of its targets, as text. Pure functions.
#pragma once

#include <string>

#include "cli/terminal.h"
#include "cli/time_text.h"
#include "infertrail/control.pb.h"

namespace infertrail::cli {

std::string status_text(const StatusReply& status, const Timestamp& now, const Style& style);
std::string process_table(const google::protobuf::RepeatedPtrField<TargetProcess>& processes,
                          const Style& style, const char* selector_title);

}  // namespace infertrail::cli
