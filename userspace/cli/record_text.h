// A whole record for people: sections, what was said, and what is missing in words. Pure functions.
#pragma once

#include <string>

#include "cli/terminal.h"
#include "infertrail/record.pb.h"

namespace infertrail::cli {

// `bodies`: the raw request and answer too.
std::string record_text(const Record& record, const Style& style, bool bodies);

// One gap as a sentence: "response: bytes 100 to 200 are missing (100 bytes): …".
std::string gap_text(const Gap& gap);

}  // namespace infertrail::cli
